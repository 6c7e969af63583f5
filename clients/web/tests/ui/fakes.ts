/** What the page is made of besides itself, under a test's control. */

import type { Auth, Session } from "../../src/auth/auth";
import type { Config } from "../../src/config";
import type { Figures } from "../../src/figures";
import type { History, HistoryEntry } from "../../src/history";
import type { RunRequest } from "../../src/run/request";
import { isOver, type Run, type RunSnapshot } from "../../src/run/run";
import type { Stack } from "../../src/stack";
import type { Services } from "../../src/ui/app/services";
import { Value } from "../../src/ui/value";
import { present } from "./present";
import { type Way, type WayId, WAYS } from "../../src/ways";

export const CONFIG: Config = {
  functionUrl: "http://127.0.0.1:1/url",
  restUrl: "http://127.0.0.1:1/rest",
  websocketUrl: "ws://127.0.0.1:1/ws",
  graphqlUrl: "http://127.0.0.1:1/graphql",
  graphqlRealtimeUrl: "ws://127.0.0.1:1/realtime",
  region: "us-east-1",
  userPoolId: "us-east-1_pool",
  userPoolClientId: "client",
  stackName: "tokenstream-test",
};

export const FIGURES: Figures = {
  connectionMs: 3,
  timeToFirstTokenMs: 120,
  medianGapMs: 4.25,
  p95GapMs: 31,
  tokensPerSecond: 48.6,
  tokens: 120,
  tokensEstimated: false,
  totalMs: 2600,
  messages: 77,
  bytes: 12_345,
  duplicates: 0,
  gapsRepaired: 1,
  resumes: 2,
};

export function wayOf(id: WayId): Way {
  return present(WAYS.find((way) => way.id === id));
}

let runs = 0;

/** A run that does what the test says. */
export class FakeRun extends Value<RunSnapshot> implements Run {
  readonly id: string;
  readonly #chunks: string[] = [];
  readonly #atMs: number[] = [];
  readonly #characters: number[] = [];
  readonly finished: Promise<RunSnapshot>;
  #finish: (last: RunSnapshot) => void = () => undefined;
  cancels = 0;
  leaves = 0;

  constructor(way: Way, request: RunRequest = { messages: [{ role: "user", content: "Hello" }] }) {
    const id = `run-${runs++}`;
    const nothing = { chunks: [], count: 0, length: 0 };
    super({
      id,
      way,
      request,
      startedAt: 1_700_000_000_000,
      status: "connecting",
      stopping: false,
      resumed: false,
      attempt: 1,
      text: nothing,
      reasoning: nothing,
      series: { atMs: [], characters: [], count: 0 },
      elapsedMs: 0,
      figures: { ...FIGURES, totalMs: null },
      cost: { usd: 0.000034, parts: [] },
      model: null,
      delivery: null,
      stopReason: null,
      usage: null,
      failure: null,
      stopFailure: null,
    });
    this.id = id;
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  become(changes: Partial<RunSnapshot>): void {
    this.set({ ...this.getSnapshot(), ...changes });
    if (isOver(this.getSnapshot().status)) this.#finish(this.getSnapshot());
  }

  /** More text of the answer; arrays grow as those of a real run do. */
  write(...chunks: readonly string[]): void {
    let { length } = this.getSnapshot().text;
    for (const chunk of chunks) {
      length += chunk.length;
      this.#chunks.push(chunk);
      this.#atMs.push(100 + 10 * this.#atMs.length);
      this.#characters.push(length);
    }
    const count = this.#chunks.length;
    this.become({
      status: "streaming",
      text: { chunks: this.#chunks, count, length },
      series: { atMs: this.#atMs, characters: this.#characters, count },
      elapsedMs: this.#atMs.at(-1) ?? 0,
    });
  }

  complete(): void {
    this.become({ status: "done", stopReason: "end_turn", figures: FIGURES });
  }

  readonly cancel = (): void => {
    this.cancels += 1;
    this.become({ stopping: true });
  };

  readonly leave = (): void => {
    this.leaves += 1;
    this.become({ status: "cancelled" });
  };
}

export class FakeStack implements Stack {
  readonly runs: FakeRun[] = [];
  closed = false;

  run(way: Way, request: RunRequest): FakeRun {
    const run = new FakeRun(way, request);
    this.runs.push(run);
    return run;
  }

  close(): void {
    this.closed = true;
  }

  last(id: WayId): FakeRun {
    return present(this.runs.findLast((run) => run.getSnapshot().way.id === id));
  }
}

export class FakeAuth extends Value<Session> implements Auth {
  /** What the next sign-in does; by default it succeeds. */
  signingIn: () => Promise<void> = () => Promise.resolve();
  restored: Session = { status: "signedOut", expired: false };
  readonly passwords: string[] = [];

  constructor() {
    super({ status: "unknown" });
  }

  restore(): Promise<void> {
    this.set(this.restored);
    return Promise.resolve();
  }

  async signIn(username: string, password: string): Promise<void> {
    this.passwords.push(password);
    await this.signingIn();
    this.set({ status: "signedIn", username });
  }

  token(): Promise<string> {
    return Promise.resolve("token");
  }

  signOut(): Promise<void> {
    this.set({ status: "signedOut", expired: false });
    return Promise.resolve();
  }
}

export class FakeHistory extends Value<readonly HistoryEntry[]> implements History {
  constructor(entries: readonly HistoryEntry[] = []) {
    super(entries);
  }

  add({ id, way, startedAt, status, stopReason, failure, model, figures, cost }: RunSnapshot, group: string): void {
    if (!isOver(status)) throw new Error("a run that isn't over");
    const failureCode = failure?.code ?? null;
    const entry = { id, group, wayId: way.id, startedAt, status, stopReason, failureCode, model, figures, cost };
    this.set([entry, ...this.getSnapshot()]);
  }

  clear(): void {
    this.set([]);
  }
}

export class FakeServices implements Services {
  readonly auth = new FakeAuth();
  readonly history = new FakeHistory();
  readonly stacks: FakeStack[] = [];
  /** What loading the configuration does, one try after another; at last it succeeds. */
  readonly loading: (() => Promise<Config>)[] = [];
  config = CONFIG;

  loadConfig(): Promise<Config> {
    return this.loading.shift()?.() ?? Promise.resolve(this.config);
  }

  openAuth(): FakeAuth {
    return this.auth;
  }

  openStack(): FakeStack {
    const stack = new FakeStack();
    this.stacks.push(stack);
    return stack;
  }

  createHistory(): FakeHistory {
    return this.history;
  }

  get stack(): FakeStack {
    return present(this.stacks.at(-1));
  }
}
