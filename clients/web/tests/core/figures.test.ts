import { describe, expect, it } from "vitest";

import { figuresOf, median, nearestRank, type Measured } from "../../src/figures";

const nothing: Measured = {
  begunAtMs: 1000,
  sentAtMs: null,
  textAtMs: [],
  attemptFrom: 0,
  characters: 0,
  outputTokens: null,
  endedAtMs: null,
  messages: 0,
  bytes: 0,
  duplicates: 0,
  gapsRepaired: 0,
  resumes: 0,
};

it("times count from the request, connecting from the beginning", () => {
  const figures = figuresOf({
    ...nothing,
    sentAtMs: 1200,
    textAtMs: [1500, 1510, 1530, 1600],
    characters: 400,
    outputTokens: 50,
    endedAtMs: 1700,
  });
  expect(figures).toMatchObject({
    connectionMs: 200,
    timeToFirstTokenMs: 300,
    medianGapMs: 20,
    p95GapMs: 70,
    totalMs: 500,
    tokens: 50,
    tokensEstimated: false,
    tokensPerSecond: 500,
  });
});

it("there is no figure where nothing was measured", () => {
  expect(figuresOf(nothing)).toMatchObject({
    connectionMs: null,
    timeToFirstTokenMs: null,
    medianGapMs: null,
    p95GapMs: null,
    tokensPerSecond: null,
    totalMs: null,
  });
});

it("until the model's own count comes tokens are estimated, and said to be", () => {
  const figures = figuresOf({ ...nothing, sentAtMs: 1000, textAtMs: [1100, 2100], characters: 401 });
  expect(figures).toMatchObject({ tokens: 101, tokensEstimated: true, tokensPerSecond: 101 });
});

it("the speed is that of the present attempt, not of the one that was given up and the wait between", () => {
  const figures = figuresOf({
    ...nothing,
    sentAtMs: 1000,
    textAtMs: [1100, 1200, 60_000, 61_000],
    attemptFrom: 2,
    outputTokens: 100,
  });
  expect(figures.tokensPerSecond).toBe(100);
});

describe("nearest rank", () => {
  it("is the value that so many percent don't exceed", () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect(nearestRank(hundred, 95)).toBe(95);
    expect(nearestRank([1, 2, 3], 95)).toBe(3);
    expect(nearestRank([7], 95)).toBe(7);
    expect(nearestRank([], 95)).toBeNull();
  });

  it("the median of an even number is the middle of two", () => {
    expect(median([1, 2, 4, 9])).toBe(3);
    expect(median([1, 2, 4])).toBe(2);
    expect(median([])).toBeNull();
  });
});
