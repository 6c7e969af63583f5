/** A run as a store: the record of one followed answer, shown at most once a frame. */

import type { Transport } from "../transports/transport";
import type { Way } from "../ways";
import type { RunEvent } from "./events";
import { Follower } from "./follower";
import { nextFrame, type Schedule } from "./frameScheduler";
import { RunRecord } from "./record";
import { bodyOf, type RunRequest } from "./request";
import { RETRY_POLICY, type RetryPolicy } from "./retry";
import { isOver, type Run, type RunSnapshot } from "./run";

export interface RunOptions {
  readonly transport: Transport;
  readonly way: Way;
  readonly request: RunRequest;
  readonly retry?: RetryPolicy;
  readonly schedule?: Schedule;
}

/** Begins at once. */
export class AnswerRun implements Run {
  readonly id = crypto.randomUUID();
  readonly finished: Promise<RunSnapshot>;
  readonly #record: RunRecord;
  readonly #follower: Follower;
  readonly #schedule: Schedule;
  readonly #listeners = new Set<() => void>();
  #snapshot: RunSnapshot;
  #cancelNotice: (() => void) | undefined;

  constructor({ transport, way, request, retry = RETRY_POLICY, schedule = nextFrame }: RunOptions) {
    const { id } = this;
    this.#schedule = schedule;
    this.#record = new RunRecord({ id, way, request, startedAt: Date.now(), begunAtMs: performance.now() });
    this.#snapshot = this.#record.snapshot();
    const tell = (event: RunEvent): void => {
      this.#take(event);
    };
    this.#follower = new Follower({ transport, body: bodyOf(request, way, id), retry, tell });
    this.finished = this.#follower.follow().then(() => {
      this.#notify();
      return this.#snapshot;
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  readonly getSnapshot = (): RunSnapshot => this.#snapshot;

  cancel(): void {
    this.#follower.cancel();
  }

  leave(): void {
    this.#follower.leave();
  }

  /** Resolves when the server has been told to stop, where it had to be, or couldn't be told. */
  async told(): Promise<void> {
    await this.#follower.told();
  }

  #take(event: RunEvent): void {
    if (isOver(this.#record.status)) return;
    this.#record.apply(event);
    this.#cancelNotice ??= this.#schedule(() => {
      this.#notify();
    });
  }

  #notify(): void {
    this.#cancelNotice?.();
    this.#cancelNotice = undefined;
    this.#snapshot = this.#record.snapshot();
    for (const listener of [...this.#listeners]) listener();
  }
}
