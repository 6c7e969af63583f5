import { describe, expect, test } from "vitest";
import { chartOf, marks, MAX_POINTS } from "../../src/ui/chart/scale";
import { FakeRun, wayOf } from "./fakes";

function runOf(characters: number, tokens: number): FakeRun {
  const run = new FakeRun(wayOf("rest"));
  for (let written = 0; written < characters; written += 10) run.write("0123456789");
  run.become({ figures: { ...run.getSnapshot().figures, tokens } });
  return run;
}

describe("the chart", () => {
  test("ends at the tokens that the model counted, at the time of the last text", () => {
    const [line] = chartOf([runOf(1000, 220).getSnapshot()]).lines;
    expect(line?.points[0]).toEqual({ seconds: 0.1, tokens: 0 });
    expect(line?.points.at(-1)?.seconds).toBeCloseTo(1.09);
    expect(line?.points.at(-1)?.tokens).toBeCloseTo(220);
  });

  test("of a long answer has no more points than can be told apart, and still its last one", () => {
    const [line] = chartOf([runOf(200_000, 50_000).getSnapshot()]).lines;
    expect(line?.points.length).toBeGreaterThan(MAX_POINTS / 2);
    expect(line?.points.length).toBeLessThanOrEqual(MAX_POINTS);
    expect(line?.points.at(-1)?.tokens).toBeCloseTo(50_000);
  });

  test("goes on as a level line while nothing comes: a stall can be seen", () => {
    const run = runOf(100, 25);
    run.become({ elapsedMs: 5000 });
    const points = chartOf([run.getSnapshot()]).lines[0]?.points ?? [];
    expect(points.at(-1)).toEqual({ seconds: 5, tokens: points.at(-2)?.tokens });
  });

  test("of runs without any text is empty and has axes", () => {
    const { lines, seconds, tokens } = chartOf([new FakeRun(wayOf("url")).getSnapshot()]);
    expect(lines[0]?.points).toEqual([]);
    expect(seconds.length).toBeGreaterThan(1);
    expect(tokens.every(Number.isFinite)).toBe(true);
  });

  test.each([
    [0.9, [0, 0.5, 1]],
    [4, [0, 1, 2, 3, 4]],
    [120, [0, 50, 100, 150]],
    [1234, [0, 500, 1000, 1500]],
    [20_000, [0, 5000, 10_000, 15_000, 20_000]],
  ])("has round marks that span %d", (most, expected) => {
    expect(marks(most)).toEqual(expected);
  });
});
