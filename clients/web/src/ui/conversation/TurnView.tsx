import { memo, useId } from "react";
import { Overview } from "../figures/Overview";
import type { Lane } from "../run/lane";
import { LaneView } from "../run/LaneView";
import type { Turn } from "./conversations";
import styles from "./Conversation.module.css";

interface TurnViewProps {
  readonly turn: Turn;
  readonly number: number;
  readonly plainText: boolean;
  readonly askAgain: (turnId: string, lane: Lane) => void;
  readonly announce: (words: string) => void;
}

/** A prompt and its answer, or its answers side by side with a picture of how they came. */
export const TurnView = memo(function TurnView({ turn, number, plainText, askAgain, announce }: TurnViewProps) {
  const title = useId();
  const sideBySide = turn.lanes.length > 1;
  const lanes = turn.lanes.map((lane) => (
    <LaneView
      key={lane.run.id}
      lane={lane}
      sideBySide={sideBySide}
      plainText={plainText}
      announce={announce}
      onAskAgain={() => {
        askAgain(turn.id, lane);
      }}
    />
  ));
  return (
    <article className={styles.turn} aria-labelledby={title}>
      <h2 id={title} className="visually-hidden">
        Turn {number}
      </h2>
      <p className={styles.prompt}>{turn.prompt}</p>
      {sideBySide ? (
        <Overview lanes={turn.lanes}>
          <div className={styles.lanes}>{lanes}</div>
        </Overview>
      ) : (
        lanes
      )}
    </article>
  );
});
