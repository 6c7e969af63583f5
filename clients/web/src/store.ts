/** What `useSyncExternalStore` takes: a value that changes, and a way to learn of it. */
export interface Store<T> {
  /** Call the listener after each change; returns what ends that. Bound: may be passed on by itself. */
  readonly subscribe: (listener: () => void) => () => void;
  /** The present value; the same object until the next change. Bound: may be passed on by itself. */
  readonly getSnapshot: () => T;
}
