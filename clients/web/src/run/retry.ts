/** How long to wait between tries, and when to give up: pure, time is an argument. */

/**
 * Times in milliseconds. The delays double from `firstDelayMs` to `longestDelayMs`, half of each at random.
 *
 * `startBudgetMs` bounds the time spent on tries to send the request, `resumeBudgetMs` the time without a new frame after
 * a broken connection.
 */
export interface RetryPolicy {
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
  readonly startBudgetMs: number;
  readonly resumeBudgetMs: number;
}

export const RETRY_POLICY: RetryPolicy = {
  firstDelayMs: 250,
  longestDelayMs: 8_000,
  startBudgetMs: 5_000,
  resumeBudgetMs: 60_000,
};

/** The delays of one run. `jitter` gives numbers from 0 to 1. */
export class Backoff {
  readonly #policy: RetryPolicy;
  readonly #jitter: () => number;
  #failures = 0;
  #failingSince = 0;

  constructor(policy: RetryPolicy, jitter: () => number = Math.random) {
    this.#policy = policy;
    this.#jitter = jitter;
  }

  /** Return the milliseconds to wait after a failure, at least `retryAfterMs`; `null` when that exceeds the budget. */
  nextDelayMs(nowMs: number, budgetMs: number, retryAfterMs = 0): number | null {
    if (this.#failures === 0) this.#failingSince = nowMs;
    const full = Math.min(this.#policy.longestDelayMs, this.#policy.firstDelayMs * 2 ** this.#failures);
    this.#failures += 1;
    const delay = Math.max(full * (0.5 + this.#jitter() / 2), retryAfterMs);
    return nowMs + delay - this.#failingSince <= budgetMs ? delay : null;
  }

  /** Start over: something arrived. */
  progress(): void {
    this.#failures = 0;
  }
}
