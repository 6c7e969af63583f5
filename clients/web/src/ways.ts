import type { Start } from "./frames.generated";

/** The way that a request takes to a stack. */
export type Path = Start["path"];

/** The way that frames take back: from the worker itself, or through a topic and a queue. */
export type Delivery = Start["delivery"];

export type WayId = "url" | "rest" | "websocket" | "websocket-queued" | "appsync" | "appsync-queued";

/** A path with a delivery: what a user compares. */
export interface Way {
  readonly id: WayId;
  readonly path: Path;
  /**
   * `queued` asks for it. `direct` leaves the choice to the stack, whose own setting may be the queue: what an answer
   * really took is in its run's `delivery`.
   */
  readonly delivery: Delivery;
}

/** All there are, in the order in which they are shown. */
export const WAYS: readonly Way[] = [
  { id: "url", path: "url", delivery: "direct" },
  { id: "rest", path: "rest", delivery: "direct" },
  { id: "websocket", path: "websocket", delivery: "direct" },
  { id: "websocket-queued", path: "websocket", delivery: "queued" },
  { id: "appsync", path: "appsync", delivery: "direct" },
  { id: "appsync-queued", path: "appsync", delivery: "queued" },
];
