/**
 * Walk through a world from JavaScript: one `Session` over the gateway's WebSocket protocol.
 *
 *   const session = new Session({ url: "wss://worlds.example", getToken, world: "meadow" });
 *   session.on("frame", (frame) => ...);
 *   await session.open();
 *   session.act([[1, 0, 0, 0, 0, 0]], [[0, 0.1]]);
 *
 * It keeps a session alive through broken connections: it comes back with the resume token, tells
 * again the actions that the server has not got, and hands every frame on once and in order. It
 * depends on nothing but WebSocket and timers, and knows no page, no codec and no keys.
 */

import { ActionLog } from "./action_log.js";
import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { FrameLedger } from "./frame_ledger.js";
import { Heartbeat } from "./heartbeat.js";
import { DEFAULTS, openMessage, resumeMessage } from "./opening.js";
import { KIND_JPEG, SessionError } from "./protocol.js";
import { SessionLife } from "./session_state.js";

export { fetchToken, fetchWorlds } from "./gateway.js";
export { SessionError } from "./protocol.js";

/** What a session takes from its surroundings; tests bring their own. */
const BROWSER = {
  connect: (url, protocol) => new WebSocket(url, protocol),
  now: () => performance.now(),
  setTimeout: (task, milliseconds) => setTimeout(task, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer),
  random: () => Math.random(),
};

const RESUMABLE = new Set(["active", "paused", "resuming", "queued"]);

export class Session {
  #options;
  #env;
  #life = new SessionLife();
  #log = new ActionLog();
  #listeners = new Map();
  #connection = null;
  #ready = null;
  #opening = null;
  #ledger = new FrameLedger();
  #acknowledgedActions = 0;
  #encoding;
  #backoff;
  #retryTimer = null;
  #resendTimer = null;
  #heartbeat;
  #figures = { numReconnects: 0, numBytes: 0, numDropped: 0 };

  constructor(options, environment = {}) {
    this.#options = { ...DEFAULTS, ...options };
    this.#env = { ...BROWSER, ...environment };
    this.#encoding = this.#options.encoding;
    this.#backoff = new Backoff(this.#options, this.#env.random);
    this.#heartbeat = new Heartbeat(this.#env, {
      pingSeconds: this.#options.pingSeconds,
      silenceSeconds: this.#options.silenceSeconds,
      send: (nonce) => this.#connection.isOpen && this.#connection.send({ type: "ping", nonce }),
      onSilent: () => this.#lost(new SessionError("disconnected", "The gateway went silent.")),
    });
  }

  /** Where the session stands: a name of services/session_state.py. */
  get state() {
    return this.#life.state;
  }

  /** The latest `ready` message, or null before the first. */
  get ready() {
    return this.#ready;
  }

  /** Index of the next action, which is also the last frame that was asked for. */
  get nextActionIndex() {
    return this.#log.length;
  }

  /** The last frame that the server has announced; its frames follow at once. */
  get lastAnnouncedFrameIndex() {
    return this.#ledger.lastAnnouncedFrameIndex;
  }

  /** Round trip, reconnections, bytes and frames left out so far. */
  get figures() {
    return { ...this.#figures, roundTripSeconds: this.#heartbeat.roundTripSeconds };
  }

  /** Call a function for every event of a type; returns a function that stops it. */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Ask for the session; resolves with the `ready` message, rejects with a `SessionError`. */
  async open() {
    if (this.state !== "new" || this.#opening) {
      throw new SessionError("wrong_state", `open in state ${this.state}, expected new`);
    }
    const opened = new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
    });
    this.#getToken().then(
      (token) =>
        this.#connect(() => {
          this.#move("opening");
          return openMessage(this.#options, this.#encoding, token);
        }),
      (error) => this.#end(asSessionError(error)),
    );
    return opened;
  }

  /** Append actions, one a frame; returns the index of the first. Sent again after a break. */
  act(keyboard, mouse) {
    if (!["active", "dropped", "resuming"].includes(this.state)) {
      throw new SessionError("wrong_state", `actions in state ${this.state}, expected active`);
    }
    const first = this.#log.append(keyboard, mouse);
    if (this.state === "active" && !this.#resendTimer) this.#sendActions(first);
    return first;
  }

  /** Give the server its credits back by hand, where `acknowledges` is false. */
  acknowledge(segmentIndex) {
    this.#send({ type: "frames_received", segment_index: segmentIndex });
  }

  pause() {
    this.#send({ type: "pause" });
  }

  continue() {
    this.#send({ type: "continue" });
  }

  snapshot() {
    this.#send({ type: "snapshot" });
  }

  /** End the session: at once, or after the frames of all actions. Safe in every state. */
  close({ finishQueue = false } = {}) {
    if (this.#life.isOver || this.state === "closing") return;
    if (this.#life.allows("close") && this.#connection?.isOpen) {
      this.#send({ type: "close", finish_queue: finishQueue });
      if (this.state === "active" || this.state === "paused") {
        this.#move("closing");
        return;
      }
    }
    this.#end(null, "stopped");
  }

  /** Go on with another encoding, over a new connection: for a decoder that failed. */
  changeEncoding(encoding) {
    this.#encoding = encoding;
    if (RESUMABLE.has(this.state) && this.#ready) {
      this.#drop(new SessionError("disconnected", `The encoding changed to ${encoding}.`));
    }
  }

  /** End the session because of what this side cannot go on from. */
  fail(error) {
    if (this.#connection?.isOpen && this.#life.allows("close")) {
      this.#send({ type: "close", finish_queue: false });
    }
    this.#end(error);
  }

  /** The project's action file of every action whose frame has come. */
  actionFile() {
    return this.#log.toFile(Math.max(0, this.#ledger.lastFrameIndex));
  }

  // -- connections

  async #getToken() {
    return this.#options.getToken ? this.#options.getToken() : this.#options.token;
  }

  #connect(firstMessage) {
    if (this.#life.isOver) return; // closed while the token was on its way
    this.#connection = new Connection(this.#options.url, this.#env, {
      openSeconds: this.#options.openSeconds,
      onOpen: () => {
        this.#connection.send(firstMessage());
        this.#heartbeat.start();
      },
      onMessage: (message) => this.#take(message),
      onFrame: (frame, numBytes) => this.#takeFrame(frame, numBytes),
      onLost: (error) => this.#lost(error),
    });
  }

  #lost(error) {
    if (this.state === "closing") {
      this.#end(null, "stopped");
    } else if (this.#ready && RESUMABLE.has(this.state) && error.isRetryable) {
      this.#drop(error);
    } else {
      this.#end(error);
    }
  }

  #drop(error) {
    this.#disconnect();
    if (this.state === "queued") this.#move("resuming");
    this.#move("dropped");
    const retry = this.#backoff.next(this.#env.now());
    if (retry === null) {
      const { reconnectSeconds } = this.#options;
      const words = `No connection for ${reconnectSeconds} seconds: ${error.message}`;
      this.#end(new SessionError(error.code, words, error.isRetryable));
      return;
    }
    this.#emit("reconnecting", { ...retry, error });
    this.#retryTimer = this.#env.setTimeout(() => {
      this.#move("resuming");
      const { lastWholeFrameIndex } = this.#ledger;
      const token = this.#ready.resume_token;
      this.#connect(() => resumeMessage(token, lastWholeFrameIndex, this.#encoding));
    }, retry.seconds * 1000);
  }

  #disconnect() {
    this.#env.clearTimeout(this.#retryTimer);
    this.#env.clearTimeout(this.#resendTimer);
    this.#resendTimer = null;
    this.#heartbeat.stop();
    this.#connection?.abandon();
    this.#connection = null;
  }

  #end(error, reason = "failed", numFrames = Math.max(0, this.#ledger.lastFrameIndex)) {
    if (this.#life.isOver) return;
    this.#disconnect();
    this.#move("ended");
    const ending = error ?? new SessionError("session_ended", `The session is over: ${reason}.`);
    this.#opening?.reject(ending);
    this.#opening = null;
    this.#emit("ended", { reason, error, numFrames });
  }

  // -- messages

  #send(message) {
    if (!this.#life.allows(message.type) || !this.#connection?.isOpen) {
      throw new SessionError("wrong_state", `${message.type} in state ${this.state}`);
    }
    this.#connection.send(message);
  }

  #sendActions(from) {
    for (const message of this.#log.messages(from, this.#ready.max_actions_per_message)) {
      this.#connection.send(message);
    }
  }

  #take(message) {
    const take = this.#takers[message.type];
    if (take) take(message); // what a newer gateway added is passed over
  }

  #takers = {
    queued: ({ position, length }) => {
      if (this.state !== "queued") this.#move("queued");
      this.#emit("queued", { position, length });
    },
    ready: (message) => this.#takeReady(message),
    actions_received: (message) => {
      this.#acknowledgedActions = message.action_index + message.num_actions;
      this.#emit("receipt", message);
    },
    segment: (message) => this.#takeSegment(message),
    paused: () => this.state === "active" && this.#move("paused"),
    continued: () => this.state === "paused" && this.#move("active"),
    snapshot_taken: (message) => this.#emit("snapshot", message),
    notice: (message) => this.#emit("notice", message),
    pong: ({ nonce }) => this.#heartbeat.take(nonce),
    ended: ({ reason, num_frames: numFrames }) => this.#end(null, reason, numFrames),
    error: (message) => this.#takeError(message),
  };

  #takeReady(message) {
    const isFirst = this.#ready === null;
    this.#ready = message;
    this.#acknowledgedActions = message.next_action_index;
    if (this.state === "queued") this.#move(isFirst ? "opening" : "resuming");
    if (message.next_action_index > this.#log.length) {
      const words = `the server has ${message.next_action_index} actions, of which ${this.#log.length} are ours`;
      this.#end(new SessionError("state_lost", words));
      return;
    }
    this.#move(message.is_paused ? "paused" : "active");
    if (!isFirst) {
      this.#backoff.reset();
      this.#figures.numReconnects += 1;
      this.#ledger.rewind();
    }
    this.#emit("ready", message);
    this.#opening?.resolve(message);
    this.#opening = null;
    if (!message.is_paused) this.#sendActions(message.next_action_index);
  }

  #takeSegment(message) {
    this.#acknowledgeWhole(this.#ledger.announce(message));
    this.#figures.numDropped = message.num_dropped;
    this.#emit("segment", message);
  }

  #takeFrame(frame, numBytes) {
    this.#figures.numBytes += numBytes;
    const { isRepeat, wholeSegmentIndex } = this.#ledger.take(frame.frameIndex);
    // A decoder of video needs the first half of a segment that was cut once more.
    if (!isRepeat || frame.kind !== KIND_JPEG) this.#emit("frame", { ...frame, isRepeat });
    this.#acknowledgeWhole(wholeSegmentIndex);
  }

  #acknowledgeWhole(segmentIndex) {
    if (segmentIndex === null || !this.#options.acknowledges) return;
    const canSend = this.#life.allows("frames_received") && this.#connection?.isOpen;
    if (canSend) this.acknowledge(segmentIndex);
  }

  #takeError({ code, message, refused, is_retryable: isRetryable, is_fatal: isFatal }) {
    const error = new SessionError(code, message, isRetryable);
    const isOfResend = refused === "actions" && this.#resendTimer !== null;
    if (isFatal) {
      this.#lost(error);
    } else if (code === "too_many_actions" || isOfResend) {
      this.#resendLater(); // what followed the refused message is refused too, as out of order
    } else {
      this.#emit("error", error);
    }
  }

  /** What the server refused because its queue was full is told again, from the first of it on. */
  #resendLater() {
    this.#resendTimer ??= this.#env.setTimeout(() => {
      this.#resendTimer = null;
      if (this.state === "active") this.#sendActions(this.#acknowledgedActions);
    }, this.#options.firstRetrySeconds * 1000);
  }

  #move(state) {
    const before = this.state;
    this.#life.move(state);
    this.#emit("state", { state, before });
  }

  #emit(type, detail) {
    for (const listener of this.#listeners.get(type) ?? []) listener(detail);
  }
}

function asSessionError(error) {
  if (error instanceof SessionError) return error;
  return new SessionError("disconnected", `The gateway cannot be reached: ${error.message}`);
}
