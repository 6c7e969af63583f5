/**
 * A queue between a connection, which puts, and the one who follows a stream, who takes.
 *
 * It holds what isn't fetched, without a bound: an answer has an end, and one stream that isn't read must not keep the
 * messages of the others from being read.
 */
export class Inbox<T> {
  #items: T[] = [];
  #next = 0;
  #failure: { readonly reason: unknown } | undefined;
  #waiter: (() => void) | undefined;

  /** Take an item; behind the end it is dropped. */
  put(item: T): void {
    if (this.#failure !== undefined) return;
    this.#items.push(item);
    this.#wake();
  }

  /** Take the end: what is taken behind the last item rejects with the reason. The first one counts. */
  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#wake();
  }

  /** Whether an item is there to be taken. */
  get filled(): boolean {
    return this.#next < this.#items.length;
  }

  /** Resolve with the next item, or with `undefined` when none comes in time; an item isn't lost by that. */
  async take(waitMs: number): Promise<T | undefined> {
    if (!this.filled && this.#failure === undefined) await this.#woken(waitMs);
    if (this.filled) return this.#shift();
    if (this.#failure !== undefined) throw this.#failure.reason;
    return undefined;
  }

  #shift(): T | undefined {
    const item = this.#items[this.#next];
    this.#next += 1;
    if (this.#next === this.#items.length) {
      this.#items = [];
      this.#next = 0;
    }
    return item;
  }

  async #woken(waitMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.#waiter = resolve;
      timer = setTimeout(resolve, waitMs);
    });
    clearTimeout(timer);
    this.#waiter = undefined;
  }

  #wake(): void {
    this.#waiter?.();
  }
}
