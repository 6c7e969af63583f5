import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { describe, expect, it } from "vitest";

import { Assembler, type Arrivals } from "../../src/assembler";
import { parse, type AnswerFrame, type JsonObject } from "../../src/frames";
import { answer } from "./frames";

const GOLDEN = fileURLToPath(new URL("../../../../tests/golden/", import.meta.url));

interface Expected {
  readonly released: string[];
  readonly text: string;
  readonly ended: boolean;
  readonly gap: boolean;
  readonly arrivals?: Partial<Arrivals>;
}

interface Step {
  readonly receive?: JsonObject;
  readonly resume?: { readonly after: string };
  readonly expect?: Expected;
}

function feed(assembler: Assembler, messages: readonly JsonObject[]): AnswerFrame[] {
  return messages.flatMap((message) => {
    const received = parse(message);
    return received.type === "heartbeat" ? [] : assembler.add(received);
  });
}

function textOf(frames: readonly AnswerFrame[]): string {
  let text = "";
  for (const frame of frames) {
    if (frame.type === "start") text = "";
    if (frame.type === "token") text += frame.token;
  }
  return text;
}

describe("a delivery that the Python client's tests hold to as well", () => {
  const files = readdirSync(GOLDEN).filter((name) => name.endsWith(".jsonl"));

  it("is there to be tested", () => {
    expect(files.length).toBeGreaterThanOrEqual(16);
  });

  it.each(files)("%s gives the recorded answer", (name) => {
    const lines = readFileSync(GOLDEN + name, "utf8")
      .trim()
      .split("\n");
    const steps = lines.map((line) => JSON.parse(line) as Step);
    const assembler = new Assembler();
    const released: AnswerFrame[] = [];
    let received = 0;
    for (const step of steps) {
      if (step.receive !== undefined) {
        released.push(...feed(assembler, [step.receive]));
        if (step.receive.type !== "heartbeat") received += 1;
      }
      const { attempt, sequence } = assembler.position;
      if (step.resume !== undefined) expect(`${attempt}.${sequence}`).toBe(step.resume.after);
    }
    const expected = steps.at(-1)?.expect;
    expect(released.map(({ attempt, sequence }) => `${attempt}.${sequence}`)).toEqual(expected?.released);
    expect(textOf(released)).toBe(expected?.text);
    expect(assembler.ended).toBe(expected?.ended);
    expect(assembler.gap).toBe(expected?.gap);
    // What a recording doesn't name didn't happen.
    const nothing = { duplicates: 0, reordered: 0, void: 0 };
    expect(assembler.arrivals).toEqual({ ...nothing, received, ...expected?.arrivals });
  });
});

it("what lies before the place where it begins is not given again", () => {
  const assembler = new Assembler({ attempt: 1, sequence: 2 });
  expect(feed(assembler, answer(["a", "b", "c"])).map(({ sequence }) => sequence)).toEqual([3, 4, 5]);
});

it("frames behind a gap are held up to a limit and no further", () => {
  const assembler = new Assembler(undefined, { heldLimit: 2 });
  const frames = answer(["a", "b", "c", "d"]);
  expect(feed(assembler, frames.slice(1))).toEqual([]);
  expect(feed(assembler, frames.slice(0, 1)).map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
  expect(feed(assembler, frames).map(({ sequence }) => sequence)).toEqual([4, 5, 6]);
  expect(assembler.ended).toBe(true);
});

it("a gap counts as repaired when the frame comes, and not when a new attempt makes it void", () => {
  const assembler = new Assembler();
  const [first = {}, second = {}, third = {}] = answer(["a"]);
  feed(assembler, [first, third]);
  expect(assembler.gapsRepaired).toBe(0);
  feed(assembler, [second]);
  expect(assembler.gapsRepaired).toBe(1);

  const voided = new Assembler();
  feed(voided, [first, third, ...answer(["b"], { attempt: 2 })]);
  expect(voided.gapsRepaired).toBe(0);
  expect(voided.ended).toBe(true);
});
