/**
 * Which frames were announced, which came, and which segments are whole.
 *
 * A segment is whole when its last frame came or, if that one was left out for being late, when the
 * next segment begins. After a break a session goes on behind its last whole segment, so frames of
 * one that was cut come again. It knows no socket and no picture.
 */

export class FrameLedger {
  #lastFrameIndex = -1;
  #lastWholeFrameIndex = 0;
  #lastAnnouncedFrameIndex = 0;
  #openSegmentIndex = null;

  /** The last frame that came, -1 before the start image. */
  get lastFrameIndex() {
    return this.#lastFrameIndex;
  }

  /** The last frame of the last whole segment: from here a session is resumed. */
  get lastWholeFrameIndex() {
    return this.#lastWholeFrameIndex;
  }

  /** The last frame that the server has announced; it follows at once. */
  get lastAnnouncedFrameIndex() {
    return this.#lastAnnouncedFrameIndex;
  }

  /** Take a `segment` message; returns the index of the segment that is whole by it, or null. */
  announce({ segment_index: segmentIndex, first_frame_index: first, num_frames: numFrames }) {
    const whole = this.#complete();
    this.#openSegmentIndex = segmentIndex;
    this.#lastAnnouncedFrameIndex = first + numFrames - 1;
    return whole;
  }

  /** Take a frame; tells whether it came before, and which segment is whole by it, or null. */
  take(frameIndex) {
    const isRepeat = frameIndex <= this.#lastFrameIndex;
    if (!isRepeat) this.#lastFrameIndex = frameIndex;
    const isLast = frameIndex >= this.#lastAnnouncedFrameIndex;
    return { isRepeat, wholeSegmentIndex: isLast ? this.#complete() : null };
  }

  /** The connection broke: what was announced and did not come is announced again. */
  rewind() {
    this.#openSegmentIndex = null;
    this.#lastAnnouncedFrameIndex = this.#lastWholeFrameIndex;
  }

  #complete() {
    const whole = this.#openSegmentIndex;
    if (whole !== null) this.#lastWholeFrameIndex = this.#lastAnnouncedFrameIndex;
    this.#openSegmentIndex = null;
    return whole;
  }
}
