/** The ways to a stack: one transport a file, behind this small interface. */

import type { JsonObject, Position } from "../frames";

/** One message as it came: `atMs` by `performance.now()`, `bytes` without the headers of HTTP and WebSocket. */
export interface Arrival {
  readonly message: JsonObject;
  readonly atMs: number;
  readonly bytes: number;
}

/** The request's JSON, as every path takes it. */
export interface RequestBody extends JsonObject {
  readonly sessionId: string;
}

/**
 * Carries requests out and messages in; knows nothing of their order, and keeps nothing but its connection.
 *
 * Every method rejects with `RequestRejected` when the server turns it down, `ConnectionFailed` when the connection fails,
 * also when nothing at all, not even a heartbeat, came for the idle timeout, and `SignInRequired` when there is no token;
 * iterating does as well. Messages that end without an error don't mean that the answer did.
 *
 * Aborting the signal ends what belongs to the call, the iteration too; both then reject with the signal's reason.
 */
export interface Transport {
  /** Have a token and a connection, so that the request that follows measures nothing but itself. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Ask for an answer; resolves once the server has accepted it. */
  start(body: RequestBody, signal: AbortSignal): Promise<AsyncIterable<Arrival>>;
  /** Ask for the frames after a position, those stored and those to come. */
  resume(sessionId: string, after: Position, signal: AbortSignal): Promise<AsyncIterable<Arrival>>;
  /** Ask for the generation to stop. The terminal frame comes on the stream, not from here. */
  cancel(sessionId: string): Promise<void>;
  /** Close every connection; what is under way fails. */
  close(): void;
}

/** Milliseconds without a sign of life after which a stream's connection counts as broken; heartbeats come more often. */
export const IDLE_TIMEOUT_MS = 45_000;
