/**
 * Puts the frames of one answer in order: pure, no I/O, no clock.
 *
 * Delivery is at least once and, on some paths, out of order. The assembler releases the frames of an attempt by
 * sequence, each once, from 1 without a gap. A frame of a higher attempt makes everything of lower attempts void: what is
 * still held is dropped, later arrivals of theirs are ignored, and the consumer learns of it by the next frame released,
 * the `start` of the higher attempt. After a terminal frame nothing is released.
 */

import { BEGINNING, compare, isTerminal, type AnswerFrame, type Position, type UnknownFrame } from "./frames";

/** Frames held while an earlier one is missing; frames beyond are dropped, the resume that fills the gap brings them. */
const HELD_LIMIT = 1000;

type Numbered = AnswerFrame | UnknownFrame;

/**
 * Frames counted as they came, before they were put in order.
 *
 * `received` are all of them. `duplicates` had come before; `reordered` came after one of a higher sequence of their
 * attempt (as in RFC 4737); `void` are those of an attempt given up that came after a later one had begun.
 */
export interface Arrivals {
  readonly received: number;
  readonly duplicates: number;
  readonly reordered: number;
  readonly void: number;
}

/** Orders and de-duplicates what `add` is given, behind a position. */
export class Assembler {
  readonly #held = new Map<number, Numbered>();
  readonly #heldLimit: number;
  #position: Position;
  #highest: number;
  #ended = false;
  #received = 0;
  #duplicates = 0;
  #reordered = 0;
  #void = 0;
  #gapsRepaired = 0;

  constructor(after: Position = BEGINNING, { heldLimit = HELD_LIMIT } = {}) {
    this.#position = after;
    this.#highest = after.sequence;
    this.#heldLimit = heldLimit;
  }

  /** What has been taken in so far. */
  get arrivals(): Arrivals {
    return {
      received: this.#received,
      duplicates: this.#duplicates,
      reordered: this.#reordered,
      void: this.#void,
    };
  }

  /** Times that frames were held because one before them was missing, and it came. */
  get gapsRepaired(): number {
    return this.#gapsRepaired;
  }

  /** The last frame released; resuming asks for what comes after it. */
  get position(): Position {
    return this.#position;
  }

  /** Whether frames are held because one before them hasn't come. */
  get gap(): boolean {
    return this.#held.size > 0;
  }

  /** Whether the terminal frame was released. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Take a frame in; return those that it makes ready, in order. */
  add(frame: Numbered): AnswerFrame[] {
    this.#received += 1;
    if (this.#ended || compare(frame, this.#position) <= 0) {
      if (frame.attempt === this.#position.attempt) this.#duplicates += 1;
      else this.#void += 1;
      return [];
    }
    if (frame.attempt > this.#position.attempt) {
      this.#held.clear();
      this.#position = { attempt: frame.attempt, sequence: 0 };
      this.#highest = 0;
    }
    this.#countOrder(frame);
    if (frame.sequence !== this.#position.sequence + 1) {
      if (this.#held.size < this.#heldLimit && !this.#held.has(frame.sequence)) this.#held.set(frame.sequence, frame);
      return [];
    }
    return this.#release(frame);
  }

  #countOrder(frame: Numbered): void {
    if (this.#held.has(frame.sequence)) this.#duplicates += 1;
    else if (frame.sequence < this.#highest) this.#reordered += 1;
    this.#highest = Math.max(this.#highest, frame.sequence);
  }

  #release(first: Numbered): AnswerFrame[] {
    const released: AnswerFrame[] = [];
    const wasGap = this.#held.size > 0;
    let frame: Numbered | undefined = first;
    while (frame !== undefined && !this.#ended) {
      this.#position = { attempt: frame.attempt, sequence: frame.sequence };
      this.#ended = isTerminal(frame);
      if (frame.type !== "unknown") released.push(frame);
      const next = this.#position.sequence + 1;
      frame = this.#held.get(next);
      this.#held.delete(next);
    }
    if (this.#ended) this.#held.clear();
    if (wasGap && !this.gap) this.#gapsRepaired += 1;
    return released;
  }
}
