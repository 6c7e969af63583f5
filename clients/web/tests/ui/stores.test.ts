import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { answerStore } from "../../src/ui/run/answerStore";
import { sampledStore } from "../../src/ui/run/sampledStore";
import { SettingsStore } from "../../src/ui/settings/settings";
import { FakeRun, wayOf } from "./fakes";

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("figures of a run", () => {
  test("change four times a second at most, for every one who looks, and at its end are the last ones", () => {
    const run = new FakeRun(wayOf("url"));
    const sampled = sampledStore(run);
    const one = vi.fn();
    const other = vi.fn();
    sampled.subscribe(one);
    sampled.subscribe(other);
    run.write("a");
    expect(one).toHaveBeenCalledTimes(1);
    for (let frame = 0; frame < 60; frame += 1) {
      run.write("b");
      vi.advanceTimersByTime(1000 / 60);
    }
    expect(one.mock.calls.length).toBeLessThanOrEqual(5);
    expect(other.mock.calls.length).toBe(one.mock.calls.length);
    run.complete();
    expect(sampled.getSnapshot()).toBe(run.getSnapshot());
  });

  test("are those of now when a tab is opened again", () => {
    const run = new FakeRun(wayOf("url"));
    const sampled = sampledStore(run);
    sampled.subscribe(() => undefined)();
    run.write("a");
    run.write("b");
    expect(sampled.getSnapshot()).toBe(run.getSnapshot());
    expect(vi.getTimerCount()).toBe(0);
  });

  test("leave no timer behind when nobody looks any more", () => {
    const run = new FakeRun(wayOf("url"));
    const end = sampledStore(run).subscribe(() => undefined);
    run.write("a");
    run.write("b");
    end();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("the text of a run", () => {
  test("is read on from where it was left, up to the snapshot's count and no further", () => {
    const run = new FakeRun(wayOf("url"));
    const chunks = ["one ", "two "];
    run.become({ text: { chunks, count: 1, length: 4 } });
    const { getSnapshot } = answerStore(run, ({ text }) => text);
    const shown = (): string =>
      getSnapshot()
        .flat()
        .map(({ text }) => text)
        .join("");
    expect(shown()).toBe("one ");
    chunks.push("three");
    run.become({ text: { chunks, count: 3, length: 13 } });
    expect(shown()).toBe("one two three");
    run.become({ text: { chunks: ["anew"], count: 1, length: 4 } });
    expect(shown()).toBe("anew");
  });
});

describe("the settings", () => {
  test("are those of the last visit", () => {
    new SettingsStore(localStorage).change({ model: "m", maxTokens: 9, sideBySide: ["rest"], plainText: true });
    expect(new SettingsStore(localStorage).getSnapshot()).toEqual({
      model: "m",
      maxTokens: 9,
      system: "",
      sideBySide: ["rest"],
      plainText: true,
    });
  });

  test.each(["nonsense", "null", "[]", '{"maxTokens": -1, "sideBySide": ["gone"], "model": 7}'])(
    "survive what another version has stored: %s",
    (stored) => {
      localStorage.setItem("tokenstream.settings", stored);
      expect(new SettingsStore(localStorage).getSnapshot()).toEqual(new SettingsStore().getSnapshot());
    },
  );

  test("can be changed where the browser stores nothing", () => {
    const forbidden = {
      getItem: () => null,
      setItem: () => {
        throw new DOMException("full", "QuotaExceededError");
      },
    } as unknown as Storage;
    const settings = new SettingsStore(forbidden);
    settings.change({ model: "m" });
    expect(settings.getSnapshot().model).toBe("m");
  });
});
