import { describe, expect, it } from "vitest";

import { costOf } from "../../src/cost";
import { WAYS, type WayId } from "../../src/ways";

function costs(id: WayId, traffic: { durationMs?: number; messages?: number; bytes?: number } = {}) {
  const way = WAYS.find((one) => one.id === id);
  if (way === undefined) throw new Error(id);
  return costOf({ way, durationMs: 0, messages: 0, bytes: 0, ...traffic });
}

const of = (id: WayId, what: string, traffic: Parameters<typeof costs>[1]): number | undefined =>
  costs(id, traffic).parts.find((part) => part.what === what)?.usd;

describe("500 tokens, each in a message of its own", () => {
  const traffic = { messages: 500, bytes: 100_000 };

  it("cost a dollar a million messages over WebSocket", () => {
    expect(of("websocket", "WebSocket messages", traffic)).toBeCloseTo(0.000502, 9);
  });

  it("cost a mutation and an update each over AppSync", () => {
    expect(of("appsync", "AppSync operations", traffic)).toBeCloseTo(0.002004, 9);
    expect(of("appsync", "AppSync updates", traffic)).toBeCloseTo(0.001, 9);
  });
});

it("big messages are metered by their size", () => {
  expect(of("appsync", "AppSync updates", { messages: 1, bytes: 50 * 1024 })).toBeCloseTo(0.00002, 9);
  expect(of("websocket", "WebSocket messages", { messages: 1, bytes: 320 * 1024 })).toBeCloseTo(0.000012, 9);
});

it("a minute of a function with 1 GB costs what Lambda's price list says", () => {
  expect(of("url", "Lambda", { durationMs: 60_000 })).toBeCloseTo(0.0000002 + 60 * 0.0000133334, 9);
});

it("the queue costs extra, and the REST API its request", () => {
  const traffic = { durationMs: 5000, messages: 100, bytes: 20_000 };
  for (const path of ["websocket", "appsync"] as const) {
    expect(costs(`${path}-queued`, traffic).usd).toBeGreaterThan(costs(path, traffic).usd);
  }
  expect(costs("rest", traffic).usd - costs("url", traffic).usd).toBeCloseTo(0.0000035, 9);
});

it.each(WAYS.map(({ id }) => id))("the whole of %s is the sum of its parts", (id) => {
  const { usd, parts } = costs(id, { durationMs: 1234, messages: 56, bytes: 7890 });
  expect(usd).toBeCloseTo(
    parts.reduce((sum, part) => sum + part.usd, 0),
    12,
  );
});
