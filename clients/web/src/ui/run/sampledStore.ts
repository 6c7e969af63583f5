import { isOver, type RunSnapshot } from "../../run/run";
import type { Store } from "../../store";

/** As often as somebody can read a figure. */
const INTERVAL_MS = 250;

/** A run for figures and charts: a change of state is told at once, everything else four times a second. */
export function sampledStore(run: Store<RunSnapshot>): Store<RunSnapshot> {
  const listeners = new Set<() => void>();
  let sample = run.getSnapshot();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let unsubscribe: (() => void) | undefined;

  function take(): void {
    clearTimeout(timer);
    timer = undefined;
    sample = run.getSnapshot();
    for (const listener of [...listeners]) listener();
  }

  function look(): void {
    const { status, stopping, stopFailure } = run.getSnapshot();
    const same = status === sample.status && stopping === sample.stopping && stopFailure === sample.stopFailure;
    if (!same || isOver(status)) take();
    else timer ??= setTimeout(take, INTERVAL_MS);
  }

  return {
    subscribe(listener) {
      listeners.add(listener);
      unsubscribe ??= run.subscribe(look);
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) {
          clearTimeout(timer);
          timer = undefined;
          unsubscribe?.();
          unsubscribe = undefined;
        }
      };
    },
    getSnapshot() {
      // Nobody has been listening: what was taken last may be long ago.
      if (listeners.size === 0) sample = run.getSnapshot();
      return sample;
    },
  };
}
