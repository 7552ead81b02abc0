/**
 * The player's clock: which frame is on the screen now, and when the next segment must be asked for.
 *
 * `Playout` shows frames at the session's pace from a small buffer, counts what stalled and never
 * grows beyond its capacity. `Pacer` tells how late actions can be sent and still be in time. Both
 * are pure: they are told the time. They know no codec, no socket and no canvas.
 */

const LONGEST_LAG_MS = 250; // behind this a clock begins anew instead of racing to catch up
const MARGIN_FRAMES = 1.5;
const REMEMBERED_SEGMENTS = 8; // a slow one is feared at once, and forgotten after so many

export class Playout {
  #frames = [];
  #period;
  #startFrames;
  #capacity;
  #nextDue = null;
  #stalledSince = null;
  #shownAt = [];
  #figures = { numShown: 0, numSkipped: 0, numStalls: 0, stalledSeconds: 0 };

  /**
   * @param {object} options
   * @param {number} options.framesPerSecond pace at which frames are shown
   * @param {number} options.startFrames frames that must wait before the first is shown
   * @param {number} options.capacity most frames that wait; the oldest are left out beyond it
   */
  constructor({ framesPerSecond, startFrames, capacity }) {
    this.#period = 1000 / framesPerSecond;
    this.#startFrames = startFrames;
    this.#capacity = capacity;
  }

  get numBuffered() {
    return this.#frames.length;
  }

  get isPlaying() {
    return this.#nextDue !== null;
  }

  get figures() {
    return this.#figures;
  }

  /** Frames shown in the last second. */
  framesPerSecond(now) {
    this.#shownAt = this.#shownAt.filter((time) => time > now - 1000);
    return this.#shownAt.length;
  }

  /** Append a frame; one that has a `close` is closed when it is left out. */
  push(frame) {
    this.#frames.push(frame);
    while (this.#frames.length > this.#capacity) this.#skip();
  }

  /**
   * Return the frame to show now, or null for the one that is on the screen.
   *
   * @param {number} now milliseconds
   * @param {boolean} isExpecting whether frames are on their way: only then an empty buffer stalls
   */
  tick(now, isExpecting) {
    if (!this.isPlaying) {
      const isEnough = this.#frames.length >= (isExpecting ? this.#startFrames : 1);
      if (!isEnough) return null;
      this.#start(now);
    }
    if (now - this.#nextDue > LONGEST_LAG_MS) this.#nextDue = now;
    let shown = null;
    while (now >= this.#nextDue && this.#frames.length) {
      if (shown) {
        shown.close?.();
        this.#figures.numSkipped += 1;
      }
      shown = this.#frames.shift();
      this.#nextDue += this.#period;
    }
    if (shown) {
      this.#figures.numShown += 1;
      this.#shownAt.push(now);
    } else if (now >= this.#nextDue) {
      this.#dry(now, isExpecting);
    }
    return shown;
  }

  /** Leave out what waits, which nobody would miss, and go on with what comes next. */
  jump() {
    for (const frame of this.#frames) frame.close?.();
    this.#frames = [];
    this.hold();
  }

  /** Stand still without a stall, as in a pause; what is buffered waits. */
  hold() {
    this.#nextDue = null;
    this.#stalledSince = null;
  }

  #start(now) {
    if (this.#stalledSince !== null) {
      this.#figures.stalledSeconds += (now - this.#stalledSince) / 1000;
      this.#stalledSince = null;
    }
    this.#nextDue = now;
  }

  #dry(now, isExpecting) {
    this.#nextDue = null;
    if (!isExpecting) return;
    this.#stalledSince = now;
    this.#figures.numStalls += 1;
  }

  #skip() {
    this.#frames.shift().close?.();
    this.#figures.numSkipped += 1;
  }
}

/** When to send the next actions: how long segments took of late says how early is early enough. */
export class Pacer {
  #period;
  #segmentFrames;
  #taken = [];

  constructor({ framesPerSecond, framesPerSegment }) {
    this.#period = 1000 / framesPerSecond;
    this.#segmentFrames = framesPerSegment;
  }

  /** Milliseconds that a segment is expected to take from its actions to its first frame. */
  get leadMs() {
    return Math.max(0, ...this.#taken);
  }

  /** Learn how long a segment took. */
  learn(milliseconds) {
    this.#taken.push(milliseconds);
    if (this.#taken.length > REMEMBERED_SEGMENTS) this.#taken.shift();
  }

  /**
   * Tell whether the next segment must be asked for now.
   *
   * @param {number} numFramesAhead frames that wait, are being decoded or were asked for
   * @param {number} numFramesAsked of which were asked for and have not come
   * @param {number} maxSegments most segments on their way at once
   */
  isTime(numFramesAhead, numFramesAsked, maxSegments) {
    if (numFramesAsked > (maxSegments - 1) * this.#segmentFrames) return false;
    // However slow a segment was, more than this ahead only makes actions old before they are seen.
    if (numFramesAhead >= maxSegments * this.#segmentFrames) return false;
    return (numFramesAhead - MARGIN_FRAMES) * this.#period <= this.leadMs;
  }
}
