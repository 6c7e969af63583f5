import { describe, expect, it } from "vitest";

import { ProtocolError } from "../../src/errors";
import { decode, parse, parseError } from "../../src/frames";
import { SESSION, complete, start, token } from "./frames";

const place = { sessionId: SESSION, attempt: 1, sequence: 1 };

describe("what a newer server sends doesn't break an older page", () => {
  it("a type from the future keeps its place", () => {
    expect(parse({ ...place, type: "citation", source: {} })).toEqual({ ...place, type: "unknown" });
  });

  it("an unknown field is dropped", () => {
    expect(parse({ ...place, ...token("a"), weight: 1 })).toEqual({ ...place, type: "token", token: "a" });
  });

  it("an unknown stop reason is shown in the server's own word", () => {
    const frame = parse({ ...place, ...complete, stopReason: "pause_turn" });
    expect(frame).toMatchObject({ stopReason: "other", modelStopReason: "pause_turn" });
  });

  it("an unknown error code is an internal error with its message", () => {
    const error = parseError({ code: "overloaded", message: "Too much.", retryable: true });
    expect(error).toEqual({ code: "internal", message: "Too much.", retryable: true });
  });

  it("usage and timings that are missing are no tokens and no times", () => {
    const frame = parse({ ...place, type: "complete", stopReason: "cancelled" });
    expect(frame).toMatchObject({
      usage: { inputTokens: 0, outputTokens: 0 },
      timings: { timeToFirstTokenMs: null },
    });
  });
});

it.each([
  ["without a type", { ...place }],
  ["without a session", { ...token("a"), attempt: 1, sequence: 1 }],
  ["with a sequence that is text", { ...place, ...token("a"), sequence: "1" }],
  ["with a sequence of 0", { ...place, ...token("a"), sequence: 0 }],
  ["with half an attempt", { ...place, ...token("a"), attempt: 1.5 }],
  ["with a token that is a number", { ...place, type: "token", token: 5 }],
  ["with a path that there is not", { ...place, ...start, path: "pigeon" }],
  ["that is an error without its object", { ...place, type: "error", error: "broken" }],
])("a frame %s is refused, not shown", (_name, message) => {
  expect(() => parse(message)).toThrow(ProtocolError);
});

it.each(["", "{", "5", "null", "[]"])("text that is no object (%j) is refused", (text) => {
  expect(() => decode(text)).toThrow(ProtocolError);
});
