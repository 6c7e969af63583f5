import type { Run, RunSnapshot } from "../../run/run";
import type { Store } from "../../store";
import type { Page } from "../markdown/answerBlocks";
import { answerStore } from "./answerStore";
import { sampledStore } from "./sampledStore";

/** A run and what the page shows of it. Made once for each run: what was read of its text isn't read again. */
export interface Lane {
  readonly run: Run;
  readonly answer: Store<readonly Page[]>;
  readonly reasoning: Store<readonly Page[]>;
  /** For figures, which nobody can read sixty times a second. */
  readonly sampled: Store<RunSnapshot>;
}

export function laneOf(run: Run): Lane {
  return {
    run,
    answer: answerStore(run, ({ text }) => text),
    reasoning: answerStore(run, ({ reasoning }) => reasoning),
    sampled: sampledStore(run),
  };
}
