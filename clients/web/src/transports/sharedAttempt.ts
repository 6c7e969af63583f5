/** Something that takes a while, done once for all who want it meanwhile. */
export class SharedAttempt<T> {
  readonly #make: () => Promise<T>;
  #attempt: Promise<T> | undefined;

  constructor(make: () => Promise<T>) {
    this.#make = make;
  }

  /** Settle as the attempt under way does, or as a new one. */
  async result(): Promise<T> {
    this.#attempt ??= this.#make().finally(() => {
      this.#attempt = undefined;
    });
    return this.#attempt;
  }
}
