/** One run: one answer on one way, followed to its end over as many connections as it takes. */

import type { Cost } from "../cost";
import type { Failure } from "../errors";
import type { Figures } from "../figures";
import type { Complete, Usage } from "../frames.generated";
import type { Store } from "../store";
import type { Delivery, Way } from "../ways";
import type { RunRequest } from "./request";

/**
 * connecting → waiting → streaming → done, cancelled or failed; from waiting and streaming → reconnecting and back.
 *
 * - `connecting`: the request hasn't been accepted; tries that failed are repeated for a few seconds.
 * - `waiting`: accepted, for the first token.
 * - `reconnecting`: the connection is lost, and tried again for up to a minute.
 * - `done`: there is an answer, also one that was cut short (`stopReason`).
 * - `cancelled`: stopped by the user; the text until then is there.
 * - `failed`: `failure` says why; the text until then is there.
 */
export type RunStatus = "connecting" | "waiting" | "streaming" | "reconnecting" | "done" | "failed" | "cancelled";

/**
 * Text in pieces, as it came.
 *
 * `chunks` is one array that grows: another attempt has another array. A reader that remembers the array and how far it
 * has read goes on from there, up to `count` and no further: there may be more in it than at the time of the snapshot.
 */
export interface ChunkedText {
  readonly chunks: readonly string[];
  readonly count: number;
  /** UTF-16 units in the first `count` chunks. */
  readonly length: number;
}

/**
 * The answer's growth, for a chart: after `atMs[i]` milliseconds there were `characters[i]`. Arrays that grow, to be
 * read up to `count`, over all attempts: a new attempt begins at 0 characters again.
 */
export interface Series {
  readonly atMs: readonly number[];
  readonly characters: readonly number[];
  readonly count: number;
}

/** A run at one moment: frozen, but for the arrays that grow. */
export interface RunSnapshot {
  /** The session's id. */
  readonly id: string;
  readonly way: Way;
  readonly request: RunRequest;
  /** When the run was begun: milliseconds since 1970. */
  readonly startedAt: number;
  readonly status: RunStatus;
  /** Whether the user has asked for the end, which hasn't come yet. */
  readonly stopping: boolean;
  /** Whether the connection was lost and made again; it stays so, also at the end. */
  readonly resumed: boolean;
  /** 1 and higher: of a higher one than 1 the answer was begun anew, and the text of the one before is void. */
  readonly attempt: number;
  readonly text: ChunkedText;
  /** The model's thinking aloud. */
  readonly reasoning: ChunkedText;
  readonly series: Series;
  /** Milliseconds since the request was sent until now, or until the end. */
  readonly elapsedMs: number;
  readonly figures: Figures;
  readonly cost: Cost;
  /** From the first frame: the model that answers, and the delivery that was taken. */
  readonly model: string | null;
  readonly delivery: Delivery | null;
  /** Of `done` and `cancelled`; `null` of a run that was cancelled before it reached the server. */
  readonly stopReason: Complete["stopReason"] | null;
  readonly usage: Usage | null;
  /** Of `failed`. */
  readonly failure: Failure | null;
  /**
   * The server couldn't be told to stop, and may go on generating: why. Also of a run that goes on, whose Stop can be
   * pressed again.
   */
  readonly stopFailure: Failure | null;
}

/** A store that notifies at most once per animation frame. */
export interface Run extends Store<RunSnapshot> {
  readonly id: string;
  /** Ask the server to stop generating: the terminal frame follows. Never throws; twice is once. */
  cancel(): void;
  /** Leave: as `cancel`, without waiting for the terminal frame. The run is then `cancelled`. For a page that goes. */
  leave(): void;
  /** Resolves with the last snapshot, whatever it is; never rejects. */
  readonly finished: Promise<RunSnapshot>;
}

/** Tell whether nothing comes any more. */
export function isOver(status: RunStatus): status is "done" | "failed" | "cancelled" {
  return status === "done" || status === "failed" || status === "cancelled";
}

/** The whole text, joined: for the end of a run, not for each token. */
export function textOf({ chunks, count }: ChunkedText): string {
  return chunks.slice(0, count).join("");
}
