/** A transport whose every step the test takes. */

import type { JsonObject, Position } from "../../src/frames";
import { Inbox } from "../../src/transports/inbox";
import type { Arrival, RequestBody, Transport } from "../../src/transports/transport";

/** One connection that a run has asked for: the test accepts or refuses it, sends messages, and breaks it. */
export class FakeConnection {
  readonly after: Position | null;
  readonly body: RequestBody | null;
  readonly accepted: Promise<void>;
  accept: () => void = () => undefined;
  refuse: (error: Error) => void = () => undefined;
  left = false;
  readonly #inbox = new Inbox<Arrival | "end">();

  constructor(asked: { after?: Position; body?: RequestBody }, signal: AbortSignal) {
    this.after = asked.after ?? null;
    this.body = asked.body ?? null;
    this.accepted = new Promise((resolve, reject) => {
      this.accept = resolve;
      this.refuse = reject;
    });
    signal.addEventListener("abort", () => {
      this.left = true;
      this.refuse(signal.reason as Error);
      this.#inbox.fail(signal.reason);
    });
  }

  send(...messages: readonly JsonObject[]): void {
    for (const message of messages) this.#inbox.put({ message, bytes: 100, atMs: performance.now() });
  }

  break(error: Error): void {
    this.#inbox.fail(error);
  }

  /** Let it end without an error, as a cut HTTP response may. */
  end(): void {
    this.#inbox.put("end");
  }

  async *arrivals(): AsyncGenerator<Arrival> {
    for (;;) {
      const arrival = await this.#inbox.take(3_600_000);
      if (arrival === undefined || arrival === "end") return;
      yield arrival;
    }
  }
}

export class FakeTransport implements Transport {
  readonly connections: FakeConnection[] = [];
  readonly cancels: string[] = [];
  prepare = (): Promise<void> => Promise.resolve();
  cancel = (sessionId: string): Promise<void> => {
    this.cancels.push(sessionId);
    return Promise.resolve();
  };
  close = (): void => undefined;

  get latest(): FakeConnection {
    const latest = this.connections.at(-1);
    if (latest === undefined) throw new Error("nothing was asked for");
    return latest;
  }

  start(body: RequestBody, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    return this.#connect({ body }, signal);
  }

  resume(_sessionId: string, after: Position, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    return this.#connect({ after }, signal);
  }

  async #connect(
    asked: { after?: Position; body?: RequestBody },
    signal: AbortSignal,
  ): Promise<AsyncIterable<Arrival>> {
    const connection = new FakeConnection(asked, signal);
    this.connections.push(connection);
    await connection.accepted;
    return connection.arrivals();
  }
}
