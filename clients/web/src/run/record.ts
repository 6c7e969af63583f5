/**
 * What is known of a run: takes events in, gives snapshots. No I/O, and no clock but the events'.
 *
 * Text is kept in pieces and never joined, and what grows grows in place: a token costs the same at the answer's end as
 * at its beginning.
 */

import { costOf, type Cost } from "../cost";
import type { Failure } from "../errors";
import { figuresOf, type Figures } from "../figures";
import type { AnswerFrame, Complete, Usage } from "../frames";
import type { Delivery, Way } from "../ways";
import type { RunEvent } from "./events";
import type { RunRequest } from "./request";
import { isOver, type ChunkedText, type RunSnapshot, type RunStatus } from "./run";

/** The states that may follow a state. One that is over has none. */
const FOLLOWERS: Readonly<Record<RunStatus, readonly RunStatus[]>> = {
  connecting: ["waiting", "reconnecting", "failed", "cancelled"],
  waiting: ["streaming", "reconnecting", "done", "failed", "cancelled"],
  // A new attempt waits for its first token again.
  streaming: ["waiting", "reconnecting", "done", "failed", "cancelled"],
  reconnecting: ["waiting", "streaming", "done", "failed", "cancelled"],
  done: [],
  failed: [],
  cancelled: [],
};

/** Milliseconds for which figures are kept while text streams: to sort thousands of gaps takes longer than a glance. */
const FIGURES_FOR_MS = 250;

class GrowingText {
  readonly #chunks: string[] = [];
  #length = 0;

  add(chunk: string): void {
    if (chunk === "") return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  get length(): number {
    return this.#length;
  }

  get snapshot(): ChunkedText {
    return { chunks: this.#chunks, count: this.#chunks.length, length: this.#length };
  }
}

export interface RunIdentity {
  readonly id: string;
  readonly way: Way;
  readonly request: RunRequest;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** The same moment by the events' clock. */
  readonly begunAtMs: number;
}

/** Takes the events of one run in. */
export class RunRecord {
  readonly #identity: RunIdentity;
  #status: RunStatus = "connecting";
  #stopping = false;
  #resumed = false;
  #attempt = 1;
  #text = new GrowingText();
  #reasoning = new GrowingText();
  #sentAtMs: number | null = null;
  #endedAtMs: number | null = null;
  #latestMs: number;
  readonly #textAtMs: number[] = [];
  readonly #characters: number[] = [];
  readonly #seriesAtMs: number[] = [];
  #attemptFrom = 0;
  #messages = 0;
  #bytes = 0;
  #duplicates = 0;
  #gapsRepaired = 0;
  #resumes = 0;
  #model: string | null = null;
  #delivery: Delivery | null = null;
  #stopReason: Complete["stopReason"] | null = null;
  #usage: Usage | null = null;
  #failure: Failure | null = null;
  #stopFailure: Failure | null = null;
  #measured: {
    readonly figures: Figures;
    readonly cost: Cost;
    readonly atMs: number;
    readonly status: RunStatus;
  } | null = null;

  constructor(identity: RunIdentity) {
    this.#identity = identity;
    this.#latestMs = identity.begunAtMs;
  }

  get status(): RunStatus {
    return this.#status;
  }

  /** Take an event in; one that its state doesn't allow is a mistake of this client's, and throws. */
  apply(event: RunEvent): void {
    this.#latestMs = Math.max(this.#latestMs, event.atMs);
    switch (event.type) {
      case "sending":
        this.#sentAtMs ??= event.atMs;
        break;
      case "accepted":
        this.#accepted();
        break;
      case "arrived":
        if (!event.heartbeat) this.#messages += 1;
        this.#bytes += event.bytes;
        this.#duplicates = event.delivered.duplicates;
        this.#gapsRepaired = event.delivered.gapsRepaired;
        for (const frame of event.frames) this.#take(frame);
        break;
      case "lost":
        if (!event.again) this.#resumes += 1;
        this.#become("reconnecting");
        break;
      case "stopping":
        this.#stopping = true;
        this.#stopFailure = null;
        break;
      case "stopFailed":
        this.#stopping = false;
        this.#stopFailure = event.failure;
        break;
      case "abandoned":
        this.#become("cancelled");
        break;
      case "failed":
        this.#failure = event.failure;
        this.#become("failed");
        break;
    }
  }

  snapshot(): RunSnapshot {
    const { id, way, request, startedAt, begunAtMs } = this.#identity;
    const { figures, cost } = this.#measure();
    return Object.freeze({
      id,
      way,
      request,
      startedAt,
      status: this.#status,
      stopping: this.#stopping,
      resumed: this.#resumed,
      attempt: this.#attempt,
      text: this.#text.snapshot,
      reasoning: this.#reasoning.snapshot,
      series: { atMs: this.#seriesAtMs, characters: this.#characters, count: this.#seriesAtMs.length },
      elapsedMs: this.#latestMs - (this.#sentAtMs ?? begunAtMs),
      figures,
      cost,
      model: this.#model,
      delivery: this.#delivery,
      stopReason: this.#stopReason,
      usage: this.#usage,
      failure: this.#failure,
      stopFailure: this.#stopFailure,
    });
  }

  #accepted(): void {
    if (this.#status === "reconnecting") this.#resumed = true;
    this.#become(this.#text.length > 0 ? "streaming" : "waiting");
  }

  #take(frame: AnswerFrame): void {
    switch (frame.type) {
      case "start":
        this.#model = frame.model;
        this.#delivery = frame.delivery;
        if (frame.attempt > this.#attempt) this.#beginAnew(frame.attempt);
        break;
      case "token":
        if (frame.token === "") break;
        this.#text.add(frame.token);
        this.#textAtMs.push(this.#latestMs);
        this.#point();
        this.#become("streaming");
        break;
      case "reasoning":
        this.#reasoning.add(frame.token);
        break;
      case "complete":
        this.#stopReason = frame.stopReason;
        this.#usage = frame.usage;
        this.#endedAtMs = this.#latestMs;
        this.#become(frame.stopReason === "cancelled" ? "cancelled" : "done");
        break;
      case "error":
        this.#failure = frame.error;
        this.#endedAtMs = this.#latestMs;
        this.#become("failed");
        break;
    }
  }

  #beginAnew(attempt: number): void {
    this.#attempt = attempt;
    this.#attemptFrom = this.#textAtMs.length;
    const hadText = this.#text.length > 0;
    // New ones: who has read the old arrays up to some place notices by that.
    this.#text = new GrowingText();
    this.#reasoning = new GrowingText();
    if (hadText) this.#point();
    this.#become("waiting");
  }

  #point(): void {
    this.#seriesAtMs.push(this.#latestMs - (this.#sentAtMs ?? this.#identity.begunAtMs));
    this.#characters.push(this.#text.length);
  }

  #become(status: RunStatus): void {
    if (status === this.#status) return;
    if (!FOLLOWERS[this.#status].includes(status)) throw new Error(`A run can't be ${status} after ${this.#status}.`);
    this.#status = status;
    if (isOver(status)) this.#stopping = false;
  }

  /** The model's count, unless the answer was cut: then it is known of a part of the text alone. */
  #countedTokens(): number | null {
    const cut = this.#stopReason === "cancelled" || this.#stopReason === "deadline";
    return cut ? null : (this.#usage?.outputTokens ?? null);
  }

  #measure(): { readonly figures: Figures; readonly cost: Cost } {
    const atMs = this.#latestMs;
    const kept = this.#measured;
    if (kept?.status === this.#status && atMs - kept.atMs < FIGURES_FOR_MS) return kept;
    const figures = figuresOf({
      begunAtMs: this.#identity.begunAtMs,
      sentAtMs: this.#sentAtMs,
      textAtMs: this.#textAtMs,
      attemptFrom: this.#attemptFrom,
      characters: this.#text.length + this.#reasoning.length,
      outputTokens: this.#countedTokens(),
      endedAtMs: this.#endedAtMs,
      messages: this.#messages,
      bytes: this.#bytes,
      duplicates: this.#duplicates,
      gapsRepaired: this.#gapsRepaired,
      resumes: this.#resumes,
    });
    const durationMs = atMs - (this.#sentAtMs ?? atMs);
    const way = { ...this.#identity.way, delivery: this.#delivery ?? this.#identity.way.delivery };
    const cost = costOf({ way, durationMs, messages: this.#messages, bytes: this.#bytes });
    this.#measured = { figures, cost, atMs, status: this.#status };
    return this.#measured;
  }
}
