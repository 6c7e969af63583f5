import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ConnectionFailed, RequestRejected, SignInRequired } from "../../src/errors";
import type { JsonObject } from "../../src/frames";
import { AnswerRun } from "../../src/run/answerRun";
import { textOf, type RunSnapshot, type RunStatus } from "../../src/run/run";
import { WAYS, type Way } from "../../src/ways";
import { FakeTransport } from "./fakeTransport";
import { answer, complete, numbered, start, token } from "./frames";

const [URL_WAY, , , QUEUED] = WAYS as readonly [Way, Way, Way, Way, ...Way[]];
const FRAME_MS = 16;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const broken = (): ConnectionFailed => new ConnectionFailed("The connection broke.");
const unreachable = (): ConnectionFailed => new ConnectionFailed("It can't be reached.", { reached: false });
const rejected = (status: number, code: "not_found" | "conflict" | "throttled" | "invalid_request"): RequestRejected =>
  new RequestRejected(status, { code, message: "Rejected.", retryable: code === "throttled" });

/** Let everything happen that is due within so many milliseconds. */
const after = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const soon = (): Promise<unknown> => after(2 * FRAME_MS);

function begin({ transport = new FakeTransport(), way = URL_WAY } = {}) {
  const schedule = (callback: () => void): (() => void) => {
    const timer = setTimeout(callback, FRAME_MS);
    return () => {
      clearTimeout(timer);
    };
  };
  const run = new AnswerRun({ transport, way, request: { messages: [{ role: "user", content: "Why?" }] }, schedule });
  const seen: RunSnapshot[] = [];
  run.subscribe(() => seen.push(run.getSnapshot()));
  return { run, transport, seen };
}

async function streaming(frames: readonly JsonObject[] = answer(["a", "b"]).slice(0, 3)) {
  const begun = begin();
  await soon();
  begun.transport.latest.accept();
  begun.transport.latest.send(...frames);
  await soon();
  return begun;
}

const statuses = (seen: readonly RunSnapshot[]): RunStatus[] =>
  seen.map(({ status }) => status).filter((status, index, all) => status !== all[index - 1]);

describe("an answer that comes", () => {
  it("is shown in each of its states and whole at its end", async () => {
    const { run, transport, seen } = begin();
    expect(run.getSnapshot().status).toBe("connecting");
    await soon();
    transport.latest.accept();
    await soon();
    expect(run.getSnapshot().status).toBe("waiting");
    const [first = {}, second = {}, ...rest] = answer(["The sky", " is blue."]);
    transport.latest.send(first, second);
    await soon();
    expect(run.getSnapshot()).toMatchObject({ status: "streaming", model: "a-model", delivery: "direct" });
    transport.latest.send(...rest);
    const last = await run.finished;
    expect(statuses(seen)).toEqual(["connecting", "waiting", "streaming", "done"]);
    expect(textOf(last.text)).toBe("The sky is blue.");
    expect(last).toMatchObject({ stopReason: "end_turn", usage: { outputTokens: 40 }, failure: null, resumed: false });
    expect(last.figures).toMatchObject({ messages: 4, bytes: 400, tokens: 40, tokensEstimated: false });
    expect(transport.cancels).toEqual([]);
  });

  it("notifies once a frame however many tokens come in it, and keeps what was shown before as it was", async () => {
    const { run, transport, seen } = await streaming();
    const before = run.getSnapshot();
    const count = seen.length;
    const many = answer(Array.from({ length: 500 }, (_, index) => String(index)));
    transport.latest.send(...many.slice(3, -1));
    await after(FRAME_MS);
    expect(seen.length - count).toBe(1);
    expect(before.text.count).toBe(2);
    expect(run.getSnapshot().text.count).toBe(500);
    expect(run.getSnapshot().text.chunks).toBe(before.text.chunks);
    expect(run.getSnapshot()).toBe(run.getSnapshot());
  });

  it("asks for the queue only where a user does", async () => {
    const direct = begin();
    const queued = begin({ way: QUEUED });
    await soon();
    expect(direct.transport.latest.body).toEqual({
      messages: [{ role: "user", content: "Why?" }],
      sessionId: direct.run.id,
    });
    expect(queued.transport.latest.body).toMatchObject({ delivery: "queued" });
  });

  it("drops the text of an attempt that was given up", async () => {
    const { run, transport } = await streaming();
    const before = run.getSnapshot().text;
    transport.latest.send(...numbered([start], 2));
    await soon();
    expect(run.getSnapshot()).toMatchObject({ status: "waiting", attempt: 2, text: { count: 0, length: 0 } });
    expect(run.getSnapshot().text.chunks).not.toBe(before.chunks);
    transport.latest.send(...answer(["new"], { attempt: 2 }).slice(1));
    const last = await run.finished;
    expect(textOf(last.text)).toBe("new");
    expect(last.series.characters).toEqual([1, 2, 0, 3]);
  });

  it("says why it failed in the server's words, and keeps the text until then", async () => {
    const error = { code: "model_error", message: "The model failed.", retryable: true };
    const { run } = await streaming(numbered([start, token("so far"), { type: "error", error }]));
    const last = await run.finished;
    expect(last).toMatchObject({ status: "failed", failure: error });
    expect(textOf(last.text)).toBe("so far");
  });
});

describe("a connection that breaks", () => {
  it("is made again, and the answer goes on behind the last frame", async () => {
    const { run, transport, seen } = await streaming();
    transport.latest.break(broken());
    await soon();
    expect(run.getSnapshot()).toMatchObject({ status: "reconnecting", resumed: false });
    await after(250);
    expect(transport.latest.after).toEqual({ attempt: 1, sequence: 3 });
    transport.latest.accept();
    await soon();
    expect(run.getSnapshot()).toMatchObject({ status: "streaming", resumed: true });
    transport.latest.send(...answer(["a", "b", "c"]).slice(2));
    const last = await run.finished;
    expect(textOf(last.text)).toBe("abc");
    expect(last.figures).toMatchObject({ resumes: 1, duplicates: 1 });
    expect(statuses(seen)).toContain("reconnecting");
  });

  it("counts as one loss however many tries it takes", async () => {
    const { run, transport } = await streaming();
    transport.latest.break(broken());
    for (const delay of [250, 500, 1000]) {
      await after(delay);
      transport.latest.refuse(broken());
      await soon();
    }
    expect(run.getSnapshot()).toMatchObject({ status: "reconnecting", figures: { resumes: 1 } });
  });

  it("without an error is one too: an answer that ends early isn't taken for a whole one", async () => {
    const { run, transport } = await streaming();
    transport.latest.end();
    await soon();
    expect(run.getSnapshot().status).toBe("reconnecting");
  });

  it("for good ends the run within the minute, with the reason, and the server is told", async () => {
    const { run, transport } = await streaming();
    transport.latest.break(broken());
    const refusing = setInterval(() => {
      transport.latest.refuse(broken());
    }, 10);
    await after(61_000);
    clearInterval(refusing);
    const last = await run.finished;
    expect(last).toMatchObject({ status: "failed", failure: { code: "stream_lost", retryable: true } });
    expect(textOf(last.text)).toBe("ab");
    expect(transport.cancels).toEqual([run.id]);
  });

  it("again after a while has its whole minute again", async () => {
    const { run, transport } = await streaming();
    for (let loss = 1; loss <= 3; loss += 1) {
      transport.latest.break(broken());
      await after(300);
      transport.latest.accept();
      await after(40_000);
      transport.latest.send(...answer(["a", "b", "c", "d", "e", "f"]).slice(2 + loss, 3 + loss));
      await soon();
    }
    expect(run.getSnapshot()).toMatchObject({ status: "streaming", figures: { resumes: 3 } });
  });

  it("and a server that has forgotten the answer end the run", async () => {
    const { run, transport } = await streaming();
    transport.latest.break(broken());
    await after(250);
    transport.latest.refuse(rejected(404, "not_found"));
    expect(await run.finished).toMatchObject({ status: "failed", failure: { code: "not_found" } });
  });

  it("is what a frame that stays missing counts as", async () => {
    const [first = {}, , third = {}] = answer(["a", "b"]);
    const { run, transport } = await streaming([first, third]);
    await after(5_250);
    expect(transport.connections[0]?.left).toBe(true);
    expect(transport.latest.after).toEqual({ attempt: 1, sequence: 1 });
    transport.latest.accept();
    transport.latest.send(...answer(["a", "b"]).slice(1));
    const last = await run.finished;
    expect(textOf(last.text)).toBe("ab");
    expect(last.figures.gapsRepaired).toBe(1);
  });
});

describe("a request that doesn't get through", () => {
  it("is repeated for some seconds, and then the run says so", async () => {
    const transport = new FakeTransport();
    transport.prepare = () => Promise.reject(unreachable());
    const { run, seen } = begin({ transport });
    await after(6_000);
    expect(await run.finished).toMatchObject({ status: "failed", failure: { code: "connection_failed" } });
    expect(statuses(seen)).toEqual(["failed"]);
    expect(transport.connections).toEqual([]);
    expect(transport.cancels).toEqual([]);
  });

  it("is sent again under the same id, and a conflict then means that it had got through", async () => {
    const { run, transport } = begin();
    await soon();
    transport.latest.refuse(broken());
    await after(300);
    expect(transport.connections).toHaveLength(2);
    transport.latest.refuse(rejected(409, "conflict"));
    await soon();
    expect(transport.latest.after).toEqual({ attempt: 0, sequence: 0 });
    transport.latest.accept();
    transport.latest.send(...answer(["a"]));
    expect(await run.finished).toMatchObject({ status: "done", id: run.id });
  });

  it.each([rejected(400, "invalid_request"), rejected(429, "throttled")])(
    "is not repeated when refused",
    async (no) => {
      const { run, transport } = begin();
      await soon();
      transport.latest.refuse(no);
      expect(await run.finished).toMatchObject({ status: "failed", failure: { code: no.code, message: "Rejected." } });
      expect(transport.connections).toHaveLength(1);
      expect(transport.cancels).toEqual([]);
    },
  );

  it("for want of a session says that the user has to sign in", async () => {
    const transport = new FakeTransport();
    transport.prepare = () => Promise.reject(new SignInRequired("Your session has expired: sign in again."));
    const { run } = begin({ transport });
    expect(await run.finished).toMatchObject({ status: "failed", failure: { code: "sign_in_required" } });
  });
});

describe("Stop", () => {
  it("reaches the server once, and the text until then stays", async () => {
    const { run, transport } = await streaming();
    run.cancel();
    run.cancel();
    await soon();
    expect(run.getSnapshot()).toMatchObject({ status: "streaming", stopping: true });
    transport.latest.send(...numbered([start, token("a"), token("b"), { ...complete, stopReason: "cancelled" }]));
    const last = await run.finished;
    expect(last).toMatchObject({ status: "cancelled", stopReason: "cancelled", stopping: false, stopFailure: null });
    // Of a part of the answer the model has counted a part, or nothing.
    expect(last.figures.tokensEstimated).toBe(true);
    expect(textOf(last.text)).toBe("ab");
    expect(transport.cancels).toEqual([run.id]);
  });

  it("before the request is sent prevents the sending", async () => {
    const transport = new FakeTransport();
    let ready: () => void = () => undefined;
    transport.prepare = () => new Promise((resolve) => (ready = resolve));
    const { run } = begin({ transport });
    await soon();
    run.cancel();
    expect(await run.finished).toMatchObject({ status: "cancelled", stopReason: null });
    ready();
    await soon();
    expect(transport.connections).toEqual([]);
    expect(transport.cancels).toEqual([]);
  });

  it("while the request is on its way waits for the session to be there", async () => {
    const { run, transport } = begin();
    await soon();
    const tries: number[] = [];
    transport.cancel = () => {
      tries.push(tries.length);
      return tries.length < 3 ? Promise.reject(rejected(404, "not_found")) : Promise.resolve();
    };
    run.cancel();
    await after(1_000);
    expect(tries).toHaveLength(3);
    transport.latest.accept();
    transport.latest.send(...numbered([start, { ...complete, stopReason: "cancelled" }]));
    expect(await run.finished).toMatchObject({ status: "cancelled", stopFailure: null });
  });

  it("that the server doesn't take in says so, and can be pressed again", async () => {
    const { run, transport } = await streaming();
    const cancel = transport.cancel;
    transport.cancel = () => Promise.reject(rejected(400, "invalid_request"));
    run.cancel();
    await soon();
    expect(run.getSnapshot()).toMatchObject({ status: "streaming", stopping: false });
    expect(run.getSnapshot().stopFailure).toMatchObject({ code: "invalid_request" });
    transport.cancel = cancel;
    run.cancel();
    await soon();
    expect(run.getSnapshot()).toMatchObject({ stopping: true, stopFailure: null });
    expect(transport.cancels).toEqual([run.id]);
  });

  it("without a connection ends the run all the same, and says that the server couldn't be told", async () => {
    const { run, transport } = await streaming();
    transport.cancel = () => Promise.reject(broken());
    transport.latest.break(broken());
    await after(300);
    run.cancel();
    await after(6_000);
    expect(await run.finished).toMatchObject({ status: "cancelled", stopFailure: { code: "connection_failed" } });
  });
});

it("a run that is left tells the server at once and waits for nothing", async () => {
  const { run, transport } = await streaming();
  run.leave();
  expect(transport.cancels).toEqual([run.id]);
  expect(await run.finished).toMatchObject({ status: "cancelled", stopReason: null });
  expect(transport.latest.left).toBe(true);
});

it("what isn't a frame ends the run with a sentence, and the server is told", async () => {
  const { run, transport } = await streaming();
  transport.latest.send({ type: "token", sessionId: run.id, attempt: 1, sequence: "four" });
  expect(await run.finished).toMatchObject({ status: "failed", failure: { code: "protocol_error" } });
  expect(transport.cancels).toEqual([run.id]);
});
