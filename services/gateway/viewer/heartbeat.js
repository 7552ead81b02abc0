/**
 * Round trips: a ping every so often, and one word when no answer comes.
 *
 * A connection whose other end is gone without a close would look open for minutes; this notices.
 * It knows no socket and no session.
 */

export class Heartbeat {
  #env;
  #options;
  #timer = null;
  #sentAt = new Map(); // nonce -> when
  #nonce = 0;
  #roundTripSeconds = null;

  /**
   * @param env how to wait
   * @param {object} options
   * @param {number} options.pingSeconds from ping to ping
   * @param {number} options.silenceSeconds longest wait for an answer
   * @param options.send sends a ping with a nonce
   * @param options.onSilent called when the wait was too long
   */
  constructor(env, options) {
    this.#env = env;
    this.#options = options;
  }

  /** The latest round trip in seconds, or null before the first. */
  get roundTripSeconds() {
    return this.#roundTripSeconds;
  }

  start() {
    this.stop();
    this.#timer = this.#env.setTimeout(() => this.#beat(), this.#options.pingSeconds * 1000);
  }

  stop() {
    this.#env.clearTimeout(this.#timer);
    this.#sentAt.clear();
  }

  /** Take the answer to a ping. */
  take(nonce) {
    const sentAt = this.#sentAt.get(nonce);
    if (sentAt === undefined) return;
    this.#sentAt.delete(nonce);
    this.#roundTripSeconds = (this.#env.now() - sentAt) / 1000;
  }

  #beat() {
    const now = this.#env.now();
    const [oldest] = this.#sentAt.values();
    if (oldest !== undefined && now - oldest > this.#options.silenceSeconds * 1000) {
      this.#options.onSilent();
      return;
    }
    this.#nonce += 1;
    this.#sentAt.set(this.#nonce, now);
    this.#options.send(this.#nonce);
    this.#timer = this.#env.setTimeout(() => this.#beat(), this.#options.pingSeconds * 1000);
  }
}
