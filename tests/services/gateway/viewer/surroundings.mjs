/**
 * What a session takes from a browser, made of plain objects: a clock that is told to go on, and
 * sockets whose other end is the test.
 */

export const READY = {
  type: "ready",
  version: 1,
  session_id: "s",
  resume_token: "token 1",
  release: "sha256:abc",
  model_version: "3",
  world: "meadow",
  prompt: "a meadow",
  seed: 7,
  height: 64,
  width: 64,
  frames_per_segment: 4,
  frames_per_second: 20,
  max_unacknowledged_segments: 2,
  max_actions_per_message: 8,
  encoding: "jpeg",
  next_action_index: 0,
  next_segment_index: 0,
  is_resumed: false,
  is_paused: false,
  max_idle_seconds: 100,
  max_session_seconds: 1000,
};

class FakeSocket {
  readyState = 0;
  sent = [];
  closedWith = null;

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
  }

  send(text) {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.readyState = 3;
    this.closedWith = code;
  }

  // -- what the other end does

  accept() {
    this.readyState = 1;
    this.onopen();
  }

  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  show(frameIndex, { kind = 0, segmentIndex = 0, bytes = 8 } = {}) {
    const buffer = new ArrayBuffer(24 + bytes);
    const view = new DataView(buffer);
    view.setUint8(0, 1);
    view.setUint8(1, kind);
    view.setUint32(4, segmentIndex, true);
    view.setUint32(8, frameIndex, true);
    view.setInt32(12, frameIndex - 1, true);
    view.setFloat64(16, 1000.5, true);
    this.onmessage?.({ data: buffer });
  }

  /** Announce a segment of four frames and send them, or the first few of them. */
  segment(segmentIndex, { numSent = 4, numDropped = 0 } = {}) {
    const first = 1 + 4 * segmentIndex;
    this.say({
      type: "segment",
      segment_index: segmentIndex,
      first_frame_index: first,
      first_action_index: first - 1,
      num_frames: 4,
      num_dropped: numDropped,
      waited_seconds: 0,
      segment_seconds: 0.01,
      action_to_frame_seconds: 0.02,
      durable_frame_index: first - 1,
    });
    for (let index = 0; index < numSent; index += 1) this.show(first + index, { segmentIndex });
  }

  break(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  ofType(type) {
    return this.sent.filter((message) => message.type === type);
  }
}

export class Surroundings {
  sockets = [];
  time = 0;
  #timers = new Map();
  #nextTimer = 1;

  environment = {
    connect: (url, protocol) => {
      this.sockets.push(new FakeSocket(url, protocol));
      return this.socket;
    },
    now: () => this.time,
    setTimeout: (task, milliseconds) => {
      this.#timers.set(this.#nextTimer, { task, at: this.time + milliseconds });
      return this.#nextTimer++;
    },
    clearTimeout: (timer) => this.#timers.delete(timer),
    random: () => 1,
  };

  /** The newest socket. */
  get socket() {
    return this.sockets.at(-1);
  }

  get numTimers() {
    return this.#timers.size;
  }

  /** Let time go on, and do what falls due, in order. */
  advance(milliseconds) {
    const end = this.time + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end);
      if (!due.length) break;
      const [timer, { task, at }] = due.reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.#timers.delete(timer);
      this.time = Math.max(this.time, at);
      task();
    }
    this.time = end;
  }
}

/** Rows of actions that do nothing. */
export function still(count) {
  return [Array(count).fill([0, 0, 0, 0, 0, 0]), Array(count).fill([0, 0])];
}

/** Let promises that are settled call those who wait. */
export function settle() {
  return new Promise((resolve) => setImmediate(resolve));
}
