import { expect, it } from "vitest";

import { createHistory, type EntryStorage } from "../../src/history";
import { RunRecord } from "../../src/run/record";
import type { RunSnapshot } from "../../src/run/run";
import { WAYS, type Way } from "../../src/ways";
import { parse, type AnswerFrame } from "../../src/frames";
import { answer } from "./frames";

const [URL_WAY] = WAYS as readonly [Way, ...Way[]];

class FakeStorage implements EntryStorage {
  readonly items = new Map<string, string>();
  full = false;

  getItem = (key: string): string | null => this.items.get(key) ?? null;
  removeItem = (key: string): void => void this.items.delete(key);
  setItem = (key: string, value: string): void => {
    if (this.full) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, value);
  };
}

function ended(id: string): RunSnapshot {
  const request = { messages: [{ role: "user" as const, content: "a secret question" }] };
  const record = new RunRecord({ id, way: URL_WAY, request, startedAt: 1_800_000_000_000, begunAtMs: 0 });
  record.apply({ type: "sending", atMs: 1 });
  record.apply({ type: "accepted", atMs: 2 });
  const frames = answer(["a secret", " answer"]).map(parse) as AnswerFrame[];
  const delivered = { duplicates: 0, gapsRepaired: 0 };
  record.apply({ type: "arrived", atMs: 3, bytes: 10, heartbeat: false, frames, delivered });
  return record.snapshot();
}

it("runs are there to compare, the latest first, and told to who listens", () => {
  const history = createHistory(new FakeStorage());
  let told = 0;
  history.subscribe(() => (told += 1));
  history.add(ended("one"), "group");
  history.add(ended("two"), "group");
  expect(history.getSnapshot().map(({ id }) => id)).toEqual(["two", "one"]);
  expect(history.getSnapshot()[0]?.texts).toEqual({ prompt: "a secret question", answer: "a secret answer" });
  expect(told).toBe(2);
});

it("no text of a user's or a model's is kept in the browser", () => {
  const storage = new FakeStorage();
  createHistory(storage).add(ended("one"), "group");
  expect([...storage.items.values()].join()).not.toContain("secret");
  const [kept] = createHistory(storage).getSnapshot();
  expect(kept).toMatchObject({ id: "one", wayId: "url", status: "done", figures: { tokens: 40 } });
  expect(kept?.texts).toBeUndefined();
});

it("the oldest go when there are too many", () => {
  const history = createHistory(new FakeStorage(), 2);
  for (const id of ["one", "two", "three"]) history.add(ended(id), "group");
  expect(history.getSnapshot().map(({ id }) => id)).toEqual(["three", "two"]);
});

it("a storage that is full, forbidden or holds nonsense doesn't break the page", () => {
  const storage = new FakeStorage();
  storage.full = true;
  const full = createHistory(storage);
  full.add(ended("one"), "group");
  expect(full.getSnapshot()).toHaveLength(1);
  createHistory(undefined).add(ended("one"), "group");
  for (const nonsense of ["{", "5", '[{"id": 1}, null]', '[{"id": "x", "wayId": "pigeon"}]']) {
    storage.items.set("tokenstream.history.1", nonsense);
    expect(createHistory(storage).getSnapshot()).toEqual([]);
  }
});

it("clearing forgets the kept ones too", () => {
  const storage = new FakeStorage();
  const history = createHistory(storage);
  history.add(ended("one"), "group");
  history.clear();
  expect(createHistory(storage).getSnapshot()).toEqual([]);
  expect(storage.items.size).toBe(0);
});
