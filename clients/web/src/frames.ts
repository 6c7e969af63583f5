/**
 * The frames of an answer, read from untrusted JSON.
 *
 * Reading is tolerant, so that an older page outlives a newer server: unknown fields are dropped, a frame of an unknown
 * type becomes `UnknownFrame`, which holds its place in the numbering, and values that a later version may add to a
 * closed set become its general one (`other`, `internal`).
 */

import { ProtocolError } from "./errors";
import type {
  Complete,
  ErrorCode,
  ErrorDetail,
  Error as ErrorFrame,
  Heartbeat,
  Reasoning,
  Start,
  Timings,
  Token,
  Usage,
} from "./frames.generated";

export type { Complete, ErrorCode, ErrorDetail, ErrorFrame, Heartbeat, Reasoning, Start, Timings, Token, Usage };

export type JsonObject = Readonly<Record<string, unknown>>;

/** What belongs to an answer. */
export type AnswerFrame = Start | Token | Reasoning | Complete | ErrorFrame;

/** A frame of a type from the future. */
export interface UnknownFrame {
  readonly type: "unknown";
  readonly sessionId: string;
  readonly attempt: number;
  readonly sequence: number;
}

export type Received = AnswerFrame | UnknownFrame | Heartbeat;

/** A place in an answer. */
export interface Position {
  readonly attempt: number;
  readonly sequence: number;
}

export const BEGINNING: Position = { attempt: 0, sequence: 0 };

/** Negative when the first comes before the second. */
export function compare(one: Position, other: Position): number {
  return one.attempt - other.attempt || one.sequence - other.sequence;
}

/** Tell whether a value of JSON is an object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Read JSON text as an object; throws `ProtocolError`. */
export function decode(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProtocolError("The server sent something that isn't JSON.");
  }
  if (!isObject(value)) throw new ProtocolError("The server sent JSON that isn't an object.");
  return value;
}

/** Read a message; throws `ProtocolError` when a field that its type needs is missing or of the wrong type. */
export function parse(message: JsonObject): Received {
  const type = text(message, "type");
  if (type === "heartbeat") return { type, sessionId: optionalText(message, "sessionId") ?? "" };
  const numbered = {
    sessionId: text(message, "sessionId"),
    attempt: count(message, "attempt"),
    sequence: count(message, "sequence"),
  };
  switch (type) {
    case "start":
      return {
        ...numbered,
        type,
        model: text(message, "model"),
        path: oneOf(PATHS, message, "path"),
        delivery: oneOf(DELIVERIES, message, "delivery"),
      };
    case "token":
    case "reasoning":
      return { ...numbered, type, token: text(message, "token") };
    case "complete":
      return { ...numbered, type, ...stopReason(message), usage: usage(message), timings: timings(message) };
    case "error": {
      const error = parseError(message.error);
      if (error === null) throw new ProtocolError("An error frame arrived without an error object.");
      return { ...numbered, type, error };
    }
    default:
      return { ...numbered, type: "unknown" };
  }
}

/** Read an error object; `null` when it isn't one. */
export function parseError(value: unknown): ErrorDetail | null {
  if (!isObject(value) || typeof value.code !== "string" || typeof value.message !== "string") return null;
  const field = optionalText(value, "field");
  return {
    code: ERROR_CODES.find((code) => code === value.code) ?? "internal",
    message: value.message,
    retryable: value.retryable === true,
    ...(field === undefined ? {} : { field }),
  };
}

/** Tell whether nothing comes after this frame. */
export function isTerminal(frame: Received): frame is Complete | ErrorFrame {
  return frame.type === "complete" || frame.type === "error";
}

const PATHS = keysOf<Start["path"]>({ url: true, rest: true, websocket: true, appsync: true });
const DELIVERIES = keysOf<Start["delivery"]>({ direct: true, queued: true });
const STOP_REASONS = keysOf<Complete["stopReason"]>({
  cancelled: true,
  content_filtered: true,
  deadline: true,
  end_turn: true,
  guardrail: true,
  max_tokens: true,
  other: true,
  refusal: true,
  stop_sequence: true,
  tool_use: true,
});
export const ERROR_CODES = keysOf<ErrorCode>({
  conflict: true,
  forbidden: true,
  internal: true,
  invalid_request: true,
  model_access: true,
  model_error: true,
  model_timeout: true,
  not_found: true,
  throttled: true,
  too_large: true,
  unauthorized: true,
});

/** The members of a generated union as values; the compiler sees to it that none is missing or too many. */
function keysOf<Member extends string>(members: Record<Member, true>): readonly Member[] {
  return Object.keys(members) as Member[];
}

function stopReason(message: JsonObject): Pick<Complete, "stopReason" | "modelStopReason"> {
  const given = text(message, "stopReason");
  const known = STOP_REASONS.find((reason) => reason === given);
  const modelStopReason = optionalText(message, "modelStopReason") ?? (known === undefined ? given : undefined);
  return { stopReason: known ?? "other", ...(modelStopReason === undefined ? {} : { modelStopReason }) };
}

function usage({ usage }: JsonObject): Usage {
  const given = isObject(usage) ? usage : {};
  return { inputTokens: number(given, "inputTokens") ?? 0, outputTokens: number(given, "outputTokens") ?? 0 };
}

function timings({ timings }: JsonObject): Timings {
  const given = isObject(timings) ? timings : {};
  return { timeToFirstTokenMs: number(given, "timeToFirstTokenMs"), durationMs: number(given, "durationMs") ?? 0 };
}

function oneOf<Member extends string>(members: readonly Member[], message: JsonObject, name: string): Member {
  const member = members.find((member) => member === message[name]);
  return member ?? invalid(name);
}

function text(message: JsonObject, name: string): string {
  return optionalText(message, name) ?? invalid(name);
}

function optionalText(message: JsonObject, name: string): string | undefined {
  const value = message[name];
  return typeof value === "string" ? value : undefined;
}

function count(message: JsonObject, name: string): number {
  const value = message[name];
  return Number.isSafeInteger(value) && (value as number) >= 1 ? (value as number) : invalid(name);
}

function number(message: JsonObject, name: string): number | null {
  const value = message[name];
  return typeof value === "number" && value >= 0 ? value : null;
}

function invalid(name: string): never {
  throw new ProtocolError(`A frame arrived without a valid \`${name}\`.`);
}
