import type { Failure } from "../errors";
import type { AnswerFrame } from "../frames";

/** How the frames came so far, as the assembler has counted them. */
export interface Delivered {
  readonly duplicates: number;
  readonly gapsRepaired: number;
}

/** What happens to a run, in its order; `atMs` is by one clock for all. */
export type RunEvent = { readonly atMs: number } & (
  | { readonly type: "sending" }
  /** The server has taken the request in: the first one, or the one that resumes. */
  | { readonly type: "accepted" }
  /** A message came; `frames` are those that it makes ready, in order. `heartbeat` is none of the answer's. */
  | {
      readonly type: "arrived";
      readonly bytes: number;
      readonly heartbeat: boolean;
      readonly frames: readonly AnswerFrame[];
      readonly delivered: Delivered;
    }
  /** The connection is lost; `again` is false when it is the same loss as before. */
  | { readonly type: "lost"; readonly again: boolean }
  | { readonly type: "stopping" }
  /** The server couldn't be told to stop. */
  | { readonly type: "stopFailed"; readonly failure: Failure }
  /** The user wanted the end, and there is no terminal frame to come. */
  | { readonly type: "abandoned" }
  | { readonly type: "failed"; readonly failure: Failure }
);
