/**
 * The life of a session: states and the legal ways between them, as in services/session_state.py.
 *
 * A test holds the tables to the Python ones. It knows no transport.
 */

export const TRANSITIONS = {
  new: ["queued", "opening", "resuming", "ended"],
  queued: ["opening", "resuming", "ended"],
  opening: ["active", "queued", "ended"],
  active: ["paused", "dropped", "resuming", "closing", "ended"],
  paused: ["active", "dropped", "resuming", "closing", "ended"],
  dropped: ["resuming", "ended"],
  resuming: ["active", "paused", "queued", "dropped", "ended"],
  closing: ["dropped", "ended"],
  ended: [],
};

const IN_SESSION = ["frames_received", "snapshot", "close", "ping"];

/** What a client may send in which state. */
export const LEGAL_MESSAGES = {
  new: ["open", "resume", "ping"],
  queued: ["close", "ping"],
  opening: ["close", "ping"],
  active: [...IN_SESSION, "actions", "pause"],
  paused: [...IN_SESSION, "continue"],
  dropped: [],
  resuming: ["close", "ping"],
  closing: ["frames_received", "ping"],
  ended: [],
};

/** One session's state; every step is checked against the table. */
export class SessionLife {
  state = "new";

  get isOver() {
    return this.state === "ended";
  }

  /** Go to a state; a step that the table lacks is a fault of the program. */
  move(state) {
    const allowed = TRANSITIONS[this.state];
    if (!allowed.includes(state)) {
      const known = allowed.join(", ") || "nowhere";
      throw new Error(`a session cannot go from ${this.state} to ${state}, expected ${known}`);
    }
    this.state = state;
  }

  /** Tell whether a message of this type may be sent now. */
  allows(type) {
    return LEGAL_MESSAGES[this.state].includes(type);
  }
}
