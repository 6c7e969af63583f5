import type { RunSnapshot } from "../../run/run";
import { adviceOn, complaintOf } from "./advice";

export type Tone = "busy" | "good" | "warning" | "bad";

export interface StatusWords {
  readonly tone: Tone;
  /** A sentence or two: what is going on, and what can be done about it. */
  readonly words: string;
}

type StopReason = NonNullable<RunSnapshot["stopReason"]>;

const ENDS: Readonly<Record<StopReason, StatusWords>> = {
  end_turn: { tone: "good", words: "Complete." },
  stop_sequence: { tone: "good", words: "Complete: the model met a stop sequence." },
  max_tokens: {
    tone: "warning",
    words: "Cut short at the token limit. For a longer answer raise Max tokens in the settings.",
  },
  tool_use: { tone: "warning", words: "Ended: the model wanted to use a tool, which this page doesn't offer." },
  refusal: { tone: "warning", words: "Ended: the model declined to answer. Ask in another way." },
  guardrail: { tone: "warning", words: "Ended by this stack's guardrail. Ask in another way." },
  content_filtered: { tone: "warning", words: "Ended by the model's content filter. Ask in another way." },
  deadline: {
    tone: "warning",
    words: "Cut short: the function's time was up. Ask for the rest, or for a shorter answer.",
  },
  cancelled: { tone: "warning", words: "Stopped." },
  other: { tone: "warning", words: "Ended for a reason that this page doesn't know." },
};

/** Say in words how a run stands. */
export function statusWords(snapshot: RunSnapshot): StatusWords {
  const { status, stopping, stopReason, failure } = snapshot;
  if (stopping && (status === "connecting" || status === "waiting" || status === "streaming")) {
    return { tone: "busy", words: "Stopping…" };
  }
  switch (status) {
    case "connecting":
      return { tone: "busy", words: "Connecting…" };
    case "waiting":
      return { tone: "busy", words: "Waiting for the first token…" };
    case "streaming":
      return { tone: "busy", words: `Streaming.${asides(snapshot)}` };
    case "reconnecting":
      return { tone: "warning", words: "The connection is lost. Reconnecting; what has come stays…" };
    case "done": {
      const { tone, words } = ENDS[stopReason ?? "other"];
      return { tone, words: words + asides(snapshot) };
    }
    case "cancelled":
      return { tone: "warning", words: `Stopped.${asides(snapshot)}` };
    case "failed":
      return {
        tone: "bad",
        words: failure === null ? "Failed." : `Failed: ${complaintOf(failure)} ${adviceOn(failure)}`,
      };
  }
}

/** Say that the server may go on although the user has pressed Stop; nothing if it won't. */
export function stopWords({ stopFailure, status }: RunSnapshot): string | null {
  if (stopFailure === null) return null;
  const over = status === "done" || status === "failed" || status === "cancelled";
  return over
    ? `The server couldn't be told to stop and may go on generating: ${stopFailure.message}`
    : `It couldn't be stopped: ${stopFailure.message} Press Stop to try again.`;
}

function asides({ resumed, attempt }: RunSnapshot): string {
  const resumes = resumed ? " Resumed after a lost connection." : "";
  const attempts = attempt > 1 ? ` Attempt ${attempt}: the one before failed, and its text was dropped.` : "";
  return resumes + attempts;
}
