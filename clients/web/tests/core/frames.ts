/** Frames as a server sends them. */

import type { JsonObject } from "../../src/frames";

export const SESSION = "6f1b2c1e-8f5c-4a53-9c2e-2f2a3d1b7a10";

export const start = { type: "start", model: "a-model", path: "url", delivery: "direct" };
export const complete = {
  type: "complete",
  stopReason: "end_turn",
  usage: { inputTokens: 12, outputTokens: 40 },
  timings: { timeToFirstTokenMs: 201, durationMs: 842 },
};
export const token = (text: string): JsonObject => ({ type: "token", token: text });

/** Number frames, from 1 on. */
export function numbered(frames: readonly JsonObject[], attempt = 1, sessionId = SESSION): JsonObject[] {
  return frames.map((frame, index) => ({ ...frame, sessionId, attempt, sequence: index + 1 }));
}

/** A whole answer. */
export function answer(texts: readonly string[], { attempt = 1, sessionId = SESSION } = {}): JsonObject[] {
  return numbered([start, ...texts.map(token), complete], attempt, sessionId);
}
