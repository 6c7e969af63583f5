import { useId, useRef } from "react";
import { isOver, textOf } from "../../run/run";
import { ErrorBoundary } from "../app/ErrorBoundary";
import { classes } from "../classes";
import { FigureList } from "../figures/FigureList";
import { Scroller } from "../Scroller";
import { useStore } from "../useStore";
import { statusWords, stopWords } from "../words/statusWords";
import { WAY_NAMES } from "../words/wayNames";
import { AnswerText, PlainText } from "./AnswerText";
import styles from "./Lane.module.css";
import type { Lane } from "./lane";
import { Reasoning } from "./Reasoning";
import { useFollowEnd } from "./useFollowEnd";

interface LaneViewProps {
  readonly lane: Lane;
  /** Whether there are others beside it: then it scrolls by itself, and its figures stand with theirs. */
  readonly sideBySide: boolean;
  readonly plainText: boolean;
  readonly announce: (words: string) => void;
  readonly onAskAgain: () => void;
}

/** One run: how it stands, its text, and what can be done with it. */
export function LaneView({ lane, sideBySide, plainText, announce, onAskAgain }: LaneViewProps) {
  const title = useId();
  const snapshot = useStore(lane.sampled);
  const { way, status, failure } = snapshot;
  const { tone, words } = statusWords(snapshot);
  const stop = stopWords(snapshot);
  return (
    <section role="group" className={styles.lane} aria-labelledby={title} data-way={way.id} data-status={status}>
      <header className={styles.head}>
        <h3 id={title}>{WAY_NAMES[way.id]}</h3>
        <LaneAction lane={lane} announce={announce} />
      </header>
      <p className={classes(styles.status, styles[tone])}>{words}</p>
      {stop !== null && <p className={classes(styles.status, styles.bad)}>{stop}</p>}
      {failure?.retryable === true && (
        <button type="button" onClick={onAskAgain}>
          Try again
        </button>
      )}
      <Reasoning lane={lane} />
      <Text lane={lane} scrolls={sideBySide} plainText={plainText} />
      {!sideBySide && <FigureList snapshot={snapshot} />}
    </section>
  );
}

interface TextProps {
  readonly lane: Lane;
  readonly scrolls: boolean;
  readonly plainText: boolean;
}

function Text({ lane, scrolls, plainText }: TextProps) {
  const scroller = useRef<HTMLDivElement>(null);
  useFollowEnd(scroller, scrolls ? Number(plainText) : null);
  const text = (
    <div data-text>
      <ErrorBoundary fallback={<PlainText text={lane.answer} />}>
        {plainText ? <PlainText text={lane.answer} /> : <AnswerText answer={lane.answer} />}
      </ErrorBoundary>
    </div>
  );
  return scrolls ? (
    <Scroller ref={scroller} className={styles.scroller} label="Answer">
      {text}
    </Scroller>
  ) : (
    text
  );
}

/** One button that is Stop while there is something to stop and then Copy: the focus stays on it. */
function LaneAction({ lane: { run, sampled }, announce }: Pick<LaneViewProps, "lane" | "announce">) {
  const { status, stopping, stopFailure } = useStore(sampled);
  const name = WAY_NAMES[run.getSnapshot().way.id];
  const waiting = stopping && stopFailure === null;

  async function copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(textOf(run.getSnapshot().text));
      announce(`${name}: the answer is copied.`);
    } catch {
      announce(`${name}: the browser doesn't let the page copy. Select the text and copy it yourself.`);
    }
  }

  if (isOver(status)) {
    return (
      <button key="action" type="button" aria-label={`Copy the answer: ${name}`} onClick={() => void copy()}>
        Copy
      </button>
    );
  }
  return (
    <button
      key="action"
      type="button"
      aria-label={`Stop: ${name}`}
      aria-disabled={waiting}
      onClick={() => {
        run.cancel();
      }}
    >
      {waiting ? "Stopping…" : "Stop"}
    </button>
  );
}
