/**
 * The messages of AppSync's real-time protocol and the GraphQL that this client asks for: pure.
 *
 * Sources: AppSync developer guide, "Building a real-time WebSocket client"; graphql/schema.graphql.
 */

import { ProtocolError } from "../errors";
import { decode, isObject, type JsonObject } from "../frames";
import { byteLength } from "./bytes";

// Text travels in variables, never in the documents.
export const START_STREAM = `
mutation StartStream(
  $prompt: String, $messages: [MessageInput!], $system: String, $model: String, $options: StreamOptions,
  $sessionId: ID, $delivery: String
) {
  startStream(
    prompt: $prompt, messages: $messages, system: $system, model: $model, options: $options,
    sessionId: $sessionId, delivery: $delivery
  ) { sessionId status }
}`;
export const CANCEL_STREAM =
  "mutation CancelStream($sessionId: ID!) { cancelStream(sessionId: $sessionId) { sessionId status } }";
export const GET_STREAM = `
query GetStream($sessionId: ID!, $afterAttempt: Int, $afterSequence: Int) {
  getStream(sessionId: $sessionId, afterAttempt: $afterAttempt, afterSequence: $afterSequence) { frames more }
}`;
const SUBSCRIBE = "subscription OnTokenReceived($sessionId: ID!) { onTokenReceived(sessionId: $sessionId) { frame } }";

export const CONNECTION_INIT = JSON.stringify({ type: "connection_init" });

/** What AppSync says unless it says something else. */
const KEEP_ALIVE_MS = 300_000;

/** Frames that are stored, in order, with their lengths; `more` says that there are more behind them. */
export interface Page {
  readonly frames: readonly { readonly message: JsonObject; readonly bytes: number }[];
  readonly more: boolean;
}

export const NOTHING: Page = { frames: [], more: false };

/** Read a `StreamState`; throws `ProtocolError`. */
export function pageOf(state: unknown): Page {
  if (!isObject(state) || !Array.isArray(state.frames) || typeof state.more !== "boolean") {
    throw new ProtocolError("The server answered with something other than a stream's state.");
  }
  return {
    frames: state.frames.map((text: unknown) => ({ message: frameOfText(text), bytes: byteLength(String(text)) })),
    more: state.more,
  };
}

/** The headers that authorize; `host` is the one of the API's address for queries and mutations. */
export interface Authorization {
  readonly host: string;
  readonly Authorization: string;
}

/** Return the subprotocol that carries the headers. */
export function credentialOf(authorization: Authorization): string {
  const base64 = btoa(JSON.stringify(authorization));
  return `header-${base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** Subscribe to a session's frames. */
export function startMessage(id: string, sessionId: string, authorization: Authorization): string {
  const data = JSON.stringify({ query: SUBSCRIBE, variables: { sessionId } });
  return JSON.stringify({ id, type: "start", payload: { data, extensions: { authorization } } });
}

/** End a subscription. */
export function stopMessage(id: string): string {
  return JSON.stringify({ id, type: "stop" });
}

/** Return the milliseconds without a message after which the connection is dead, from a `connection_ack`. */
export function keepAliveOf({ payload }: JsonObject): number {
  const ms = isObject(payload) ? payload.connectionTimeoutMs : undefined;
  return typeof ms === "number" && ms > 0 ? ms : KEEP_ALIVE_MS;
}

/** Return the frame of an event; `null` for an event without one, which counts as lost. Throws `ProtocolError`. */
export function frameOf(payload: unknown): JsonObject | null {
  const data = isObject(payload) ? payload.data : undefined;
  const event = isObject(data) ? data.onTokenReceived : undefined;
  const frame = isObject(event) ? event.frame : undefined;
  return frame === undefined || frame === null ? null : frameOfText(frame);
}

function frameOfText(text: unknown): JsonObject {
  if (typeof text !== "string") throw new ProtocolError("The server sent a frame that isn't JSON.");
  return decode(text);
}
