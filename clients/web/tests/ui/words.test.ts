import { describe, expect, test } from "vitest";
import type { RunSnapshot } from "../../src/run/run";
import { bytes, dollars, fineMilliseconds, milliseconds, rate } from "../../src/ui/words/amounts";
import { statusWords, stopWords } from "../../src/ui/words/statusWords";
import { FakeRun, wayOf } from "./fakes";

function snapshot(changes: Partial<RunSnapshot>): RunSnapshot {
  return { ...new FakeRun(wayOf("url")).getSnapshot(), ...changes };
}

describe("what the page says of a run", () => {
  test.each([
    ["end_turn", "Complete."],
    ["max_tokens", "Cut short at the token limit. For a longer answer raise Max tokens in the settings."],
    ["deadline", "Cut short: the function's time was up. Ask for the rest, or for a shorter answer."],
    ["refusal", "Ended: the model declined to answer. Ask in another way."],
  ] as const)("that ended with %s doesn't pass a cut answer off as a whole one", (stopReason, words) => {
    expect(statusWords(snapshot({ status: "done", stopReason })).words).toBe(words);
  });

  test("that was stopped before it began is Stopped as well", () => {
    expect(statusWords(snapshot({ status: "cancelled" })).words).toBe("Stopped.");
  });

  test("that is being stopped while its connection is lost says both can't be had at once", () => {
    expect(statusWords(snapshot({ status: "reconnecting", stopping: true })).words).toContain("Reconnecting");
  });

  test("that may go on at the server says so", () => {
    const stopFailure = { code: "connection_failed", message: "No connection.", retryable: true } as const;
    expect(stopWords(snapshot({ status: "cancelled", stopFailure }))).toContain("may go on generating: No connection.");
    expect(stopWords(snapshot({ status: "done" }))).toBeNull();
  });
});

describe("figures", () => {
  test.each([
    [milliseconds(null), "–"],
    [milliseconds(999.4), "999 ms"],
    [milliseconds(1234), "1.23 s"],
    [milliseconds(65_432), "65.4 s"],
    [fineMilliseconds(0.04), "0.0 ms"],
    [fineMilliseconds(12.3), "12 ms"],
    [rate(301.4), "301 tokens/s"],
    [bytes(999), "999 B"],
    [bytes(1_234_567), "1.2 MB"],
    [dollars(0), "$0"],
    [dollars(0.0000347), "$0.000035"],
    [dollars(0.00304), "$0.0030"],
    [dollars(1.5), "$1.50"],
  ])("read as %s", (shown, expected) => {
    expect(shown).toBe(expected);
  });
});
