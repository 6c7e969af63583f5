/* Generated from docs/frames.schema.json by `npm run generate`. */

export type Frame = Start | Token | Reasoning | Complete | Error | Heartbeat;
/**
 * The closed set of codes that a client meets, the same on every path.
 */
export type ErrorCode =
  | "conflict"
  | "forbidden"
  | "internal"
  | "invalid_request"
  | "model_access"
  | "model_error"
  | "model_timeout"
  | "not_found"
  | "throttled"
  | "too_large"
  | "unauthorized";

/**
 * The first frame of an attempt.
 */
export interface Start {
  type: "start";
  sessionId: string;
  attempt: number;
  sequence: number;
  model: string;
  path: "appsync" | "rest" | "url" | "websocket";
  delivery: "direct" | "queued";
}
/**
 * Text of the answer: one or more of the model's deltas, joined.
 */
export interface Token {
  type: "token";
  sessionId: string;
  attempt: number;
  sequence: number;
  token: string;
}
/**
 * The model's thinking aloud, joined in the same way.
 */
export interface Reasoning {
  type: "reasoning";
  sessionId: string;
  attempt: number;
  sequence: number;
  token: string;
}
/**
 * Terminal: the answer ended, for the reason given. `model_stop_reason` is there with `other` alone.
 */
export interface Complete {
  type: "complete";
  sessionId: string;
  attempt: number;
  sequence: number;
  stopReason:
    | "cancelled"
    | "content_filtered"
    | "deadline"
    | "end_turn"
    | "guardrail"
    | "max_tokens"
    | "other"
    | "refusal"
    | "stop_sequence"
    | "tool_use";
  usage: Usage;
  timings: Timings;
  modelStopReason?: string;
}
/**
 * Tokens that the model has counted; of a stream that was stopped, those that are known: at least so many.
 */
export interface Usage {
  inputTokens?: number;
  outputTokens?: number;
}
/**
 * Milliseconds since the worker took the request; no first token, no time to it.
 */
export interface Timings {
  timeToFirstTokenMs: number | null;
  durationMs: number;
}
/**
 * Terminal: the answer failed.
 */
export interface Error {
  type: "error";
  sessionId: string;
  attempt: number;
  sequence: number;
  error: ErrorDetail;
}
/**
 * The error object, in a frame and in a rejection alike.
 */
export interface ErrorDetail {
  code: ErrorCode;
  message: string;
  retryable: boolean;
  field?: string;
}
/**
 * Keeps a connection open while the model is silent; outside the numbering.
 */
export interface Heartbeat {
  type: "heartbeat";
  sessionId: string;
}
