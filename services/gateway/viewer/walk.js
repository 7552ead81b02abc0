/**
 * One walk: a session's frames through the decoder into the playout, a player's controls into
 * actions, each as late as it can be and still be in time.
 *
 * It is told the time by `tick`, once a screen's frame. It draws nothing: pictures go to `onShow`,
 * which must not keep them. It knows no page.
 */

import { FrameDecoder } from "./decoder.js";
import { Pacer, Playout } from "./playout.js";

const REST_SECONDS = 20; // without a hand on the controls no frames are asked for after this
const BROWSER = {
  now: () => performance.now(),
  makeDecoder: (handlers) => new FrameDecoder(handlers),
};
const PLAYING = new Set(["active", "dropped", "resuming", "queued", "closing"]);

export class Walk {
  #now;
  #session;
  #controls;
  #onShow;
  #onRest;
  #decoder;
  #playout = null;
  #pacer = null;
  #ready = null;
  #marks = []; // segments asked for: their rows, when, and for which first frame
  #shown = null; // the one of them that is on the screen
  #segment = null;
  #actionToFrameSeconds = null;
  #idleSince = null;
  #isResting = false;
  #isHeld = false;
  #shownFrameIndex = 0;

  /**
   * @param {object} parts
   * @param parts.session a `Session` that has not been opened
   * @param parts.controls a `Controls`
   * @param parts.onShow called with each picture as it is due, its frame and the action behind it
   * @param parts.onRest called with true when the walk stands still, false when it goes on
   * @param surroundings the clock of the ticks and how to make a decoder; tests bring their own
   */
  constructor({ session, controls, onShow, onRest = () => {} }, surroundings = {}) {
    const { now, makeDecoder } = { ...BROWSER, ...surroundings };
    this.#now = now;
    this.#session = session;
    this.#controls = controls;
    this.#onShow = onShow;
    this.#onRest = onRest;
    this.#decoder = makeDecoder({
      onPicture: (frame, picture) => this.#takePicture(frame, picture),
      onError: (error) => this.#decoderFailed(error),
    });
    session.on("ready", (ready) => this.#begin(ready));
    session.on("segment", (segment) => (this.#segment = segment));
    session.on("frame", (frame) => this.#decode(frame));
    session.on("ended", () => this.#decoder.close());
  }

  /** Show no frame and ask for none, at once, whatever the server still sends. */
  hold() {
    this.#isHeld = true;
    this.#playout?.hold();
  }

  go() {
    this.#isHeld = false;
    this.#idleSince = null;
  }

  /** Frames asked for that the server has not announced. */
  get numAsked() {
    return Math.max(0, this.#session.nextActionIndex - this.#session.lastAnnouncedFrameIndex);
  }

  get figures() {
    const shown = this.#playout?.figures ?? { numShown: 0, numSkipped: 0, numStalls: 0 };
    return {
      actionToFrameSeconds: this.#actionToFrameSeconds,
      leadSeconds: (this.#pacer?.leadMs ?? 0) / 1000,
      roundTripSeconds: this.#session.figures.roundTripSeconds,
      numBuffered: this.#playout?.numBuffered ?? 0,
      numAsked: this.numAsked,
      numShown: shown.numShown,
      numStalls: shown.numStalls,
      numDropped: this.#session.figures.numDropped + shown.numSkipped,
      frameIndex: this.#shownFrameIndex,
      decoder: this.#ready ? this.#decoder.name : "",
    };
  }

  framesPerSecond(now) {
    return this.#playout?.framesPerSecond(now) ?? 0;
  }

  /** Do what is due at this time, milliseconds. */
  tick(now) {
    if (this.#ready === null || this.#isHeld || !PLAYING.has(this.#session.state)) return;
    if (this.#session.state === "active") this.#ask(now);
    const entry = this.#playout.tick(now, this.numAsked + this.#decoder.numPending > 0);
    if (entry) this.#show(entry, now);
  }

  #begin(ready) {
    this.#segment = null;
    for (const mark of this.#marks) mark.askedAt = null; // a break says nothing about the server
    const isFirst = this.#ready === null;
    this.#ready = ready;
    if (!isFirst) return;
    const { frames_per_second: framesPerSecond, frames_per_segment: framesPerSegment } = ready;
    this.#playout = new Playout({
      framesPerSecond,
      startFrames: framesPerSegment,
      capacity: (ready.max_unacknowledged_segments + 1) * framesPerSegment,
    });
    this.#pacer = new Pacer({ framesPerSecond, framesPerSegment });
  }

  #ask(now) {
    this.#watchRest(now);
    if (this.#isResting) return;
    const { frames_per_segment: numFrames, max_unacknowledged_segments: maxSegments } = this.#ready;
    // Frames in which nothing moves are missed by nobody: the first step need not wait for them.
    const isFirstStep = this.#controls.changedAt !== null && this.#isStillAhead();
    const numPlayed = this.#playout.numBuffered + this.#decoder.numPending + this.numAsked;
    const numAhead = isFirstStep ? 0 : numPlayed;
    if (!this.#pacer.isTime(numAhead, this.numAsked, maxSegments)) return;
    const rows = this.#controls.sample(numFrames, this.#ready.frames_per_second);
    const first = this.#session.act(rows.keyboard, rows.mouse);
    const isStill = rows.startedAt === null && isStillRows(rows);
    this.#marks.push({ ...rows, isStill, isFirstStep, frameIndex: first + 1, askedAt: now });
  }

  #isStillAhead() {
    return [this.#shown, ...this.#marks].every((mark) => mark === null || mark.isStill);
  }

  #watchRest(now) {
    if (!this.#controls.isIdle) this.#idleSince = null;
    else this.#idleSince ??= now;
    const isResting = this.#idleSince !== null && now - this.#idleSince > REST_SECONDS * 1000;
    if (isResting === this.#isResting) return;
    this.#isResting = isResting;
    this.#onRest(isResting);
  }

  #decode(frame) {
    const lastIndex = this.#segment
      ? this.#segment.first_frame_index + this.#segment.num_frames - 1
      : frame.frameIndex;
    this.#decoder.decode(frame, { isLast: frame.frameIndex >= lastIndex });
  }

  #takePicture(frame, picture) {
    const now = this.#now();
    if (frame.frameIndex === 0) {
      this.#onShow(picture, frame, null);
      picture.close();
      return;
    }
    for (const mark of this.#marks) {
      if (mark.frameIndex > frame.frameIndex || mark.askedAt === null) continue;
      this.#pacer.learn(now - mark.askedAt);
      mark.askedAt = null;
      if (mark.isFirstStep) this.#playout.jump();
    }
    this.#playout.push({ frame, picture, close: () => picture.close() });
  }

  #show({ frame, picture }, now) {
    while (this.#marks.length && this.#marks[0].frameIndex <= frame.frameIndex) {
      this.#shown = this.#marks.shift();
      const { startedAt } = this.#shown;
      if (startedAt !== null) this.#actionToFrameSeconds = (now - startedAt) / 1000;
    }
    const row = frame.frameIndex - this.#shown.frameIndex;
    const action = { keyboard: this.#shown.keyboard[row], mouse: this.#shown.mouse[row] };
    this.#onShow(picture, frame, action);
    picture.close();
    this.#shownFrameIndex = frame.frameIndex;
  }

  #decoderFailed(error) {
    if (this.#session.ready?.encoding === "h264") {
      this.#decoder.reset();
      this.#session.changeEncoding("jpeg");
    } else {
      this.#session.fail(error);
    }
  }
}

function isStillRows({ keyboard, mouse }) {
  return [...keyboard, ...mouse].every((row) => row.every((value) => value === 0));
}
