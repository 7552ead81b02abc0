/**
 * When to try again: twice as long after every failure, up to a bound, and not for ever.
 *
 * A random part keeps the clients of a gateway that was restarted from coming all at once. It knows
 * nothing of what is tried.
 */

export class Backoff {
  #options;
  #random;
  #since = null;
  #attempts = 0;

  /**
   * @param {object} options
   * @param {number} options.firstRetrySeconds wait before the first try
   * @param {number} options.longestRetrySeconds longest wait between two
   * @param {number} options.reconnectSeconds time after which it gives up
   */
  constructor(options, random) {
    this.#options = options;
    this.#random = random;
  }

  /** Return `{ attempt, seconds }` to wait, or null when it is time to give up. */
  next(now) {
    const { firstRetrySeconds, longestRetrySeconds, reconnectSeconds } = this.#options;
    this.#since ??= now;
    const left = reconnectSeconds - (now - this.#since) / 1000;
    if (left <= 0) return null;
    const longest = Math.min(firstRetrySeconds * 2 ** this.#attempts, longestRetrySeconds);
    this.#attempts += 1;
    return {
      attempt: this.#attempts,
      seconds: Math.min(left, longest * (0.5 + this.#random() / 2)),
    };
  }

  /** It worked. */
  reset() {
    this.#since = null;
    this.#attempts = 0;
  }
}
