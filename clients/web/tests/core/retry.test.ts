import { expect, it } from "vitest";

import { Backoff, RETRY_POLICY } from "../../src/run/retry";

it("tries come ever more slowly, up to a longest delay, and end with the budget", () => {
  const backoff = new Backoff(RETRY_POLICY, () => 1);
  const delays: number[] = [];
  let now = 0;
  for (let delay = backoff.nextDelayMs(now, 30_000); delay !== null; delay = backoff.nextDelayMs(now, 30_000)) {
    delays.push(delay);
    now += delay;
  }
  expect(delays).toEqual([250, 500, 1000, 2000, 4000, 8000, 8000]);
});

it("half of a delay is chance, so that all who lost a server don't come back at once", () => {
  expect(new Backoff(RETRY_POLICY, () => 0).nextDelayMs(0, 5000)).toBe(125);
});

it("a server that says how long to wait is waited for, or given up", () => {
  const backoff = new Backoff(RETRY_POLICY, () => 1);
  expect(backoff.nextDelayMs(0, 5000, 3000)).toBe(3000);
  expect(backoff.nextDelayMs(3000, 5000, 3000)).toBeNull();
});

it("after progress the budget and the delays begin anew", () => {
  const backoff = new Backoff(RETRY_POLICY, () => 1);
  backoff.nextDelayMs(0, 5000);
  backoff.progress();
  expect(backoff.nextDelayMs(100_000, 5000)).toBe(250);
});
