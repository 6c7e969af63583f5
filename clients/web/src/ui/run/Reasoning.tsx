import { useState } from "react";
import { useStore } from "../useStore";
import { PlainText } from "./AnswerText";
import styles from "./Lane.module.css";
import type { Lane } from "./lane";

/** The model's thinking aloud, for those who open it. */
export function Reasoning({ lane }: { readonly lane: Lane }) {
  const [open, setOpen] = useState(false);
  const { reasoning } = useStore(lane.sampled);
  if (reasoning.length === 0) return null;
  return (
    <details
      className={styles.reasoning}
      onToggle={(event) => {
        setOpen(event.currentTarget.open);
      }}
    >
      <summary>Reasoning</summary>
      {open && <PlainText text={lane.reasoning} />}
    </details>
  );
}
