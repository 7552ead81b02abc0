/**
 * From what a player does to what the model is told: one action row a frame.
 *
 * `Controls` gathers keys, looks and sticks as they happen; `sample` turns them into the rows of
 * one segment, as late as it can be: what is held now is held for the whole segment, a key that was
 * tapped in between is held for as long as it was, and what the mouse moved since is spread over
 * the frames, so that the view turns by as much as the hand did. It knows no page and no socket:
 * `input.js` tells it of events.
 */

/** W, S, A, D: the order of the keyboard's columns. */
export const KEYS = ["forward", "back", "left", "right"];
/** Looks that are held like keys. */
export const LOOKS = ["lookLeft", "lookRight", "lookUp", "lookDown"];

const NUM_UNUSED_KEYS = 2;
const DEGREES_PER_UNIT = 15; // a mouse unit turns by this much in a frame
const MAX_UNITS_PER_FRAME = 0.5; // what recordings hold, so what a model has learnt
const HELD_DEGREES_PER_SECOND = 60;
const STICK_THRESHOLD = 0.35;
const DECIMALS = 1e4;

export class Controls {
  #heldSince = new Map(); // name -> time it was pressed, null once a sample has told of it
  #tapped = new Map(); // name -> milliseconds it was held since the last sample
  #lookDegrees = { pitch: 0, yaw: 0 };
  #sticks = new Map(); // source -> { x, y, yaw, pitch }, each -1 to 1
  #changedAt = null;

  /** Hold a key of `KEYS` or `LOOKS`. */
  press(name, now) {
    if (this.#heldSince.has(name)) return; // a keyboard repeats what is held
    this.#heldSince.set(name, now);
    this.#changedAt ??= now;
  }

  release(name, now) {
    const since = this.#heldSince.get(name);
    if (since === undefined) return;
    this.#heldSince.delete(name);
    // What was told is held for the segment that was told; only what came after is told late.
    if (since !== null) this.#tapped.set(name, (this.#tapped.get(name) ?? 0) + now - since);
    this.#changedAt ??= now;
  }

  /** Let everything go, as when the window loses the keyboard. */
  releaseAll() {
    this.#heldSince.clear();
    this.#tapped.clear();
    this.#sticks.clear();
    this.#lookDegrees = { pitch: 0, yaw: 0 };
  }

  /** Turn the view by degrees: positive yaw is to the right, positive pitch is up. */
  look(yawDegrees, pitchDegrees, now) {
    this.#lookDegrees.yaw += yawDegrees;
    this.#lookDegrees.pitch += pitchDegrees;
    this.#changedAt ??= now;
  }

  /** Hold a stick: x to the right and y forward, yaw and pitch as in `look`, each -1 to 1. */
  tilt(source, { x = 0, y = 0, yaw = 0, pitch = 0 }, now) {
    const before = this.#sticks.get(source) ?? { x: 0, y: 0, yaw: 0, pitch: 0 };
    const isSame =
      before.x === x && before.y === y && before.yaw === yaw && before.pitch === pitch;
    if (isSame) return;
    this.#sticks.set(source, { x, y, yaw, pitch });
    this.#changedAt ??= now;
  }

  /** When the player last began to do something that no sample has told yet, or null. */
  get changedAt() {
    return this.#changedAt;
  }

  /** Whether the player does anything at all. */
  get isIdle() {
    const isStill = ({ x, y, yaw, pitch }) => !x && !y && !yaw && !pitch;
    return (
      !this.#heldSince.size && this.#changedAt === null && [...this.#sticks.values()].every(isStill)
    );
  }

  /** Return the rows of a segment, and forget what they have told. */
  sample(numFrames, framesPerSecond) {
    const state = {
      held: new Set(this.#heldSince.keys()),
      tapped: new Map(this.#tapped),
      lookDegrees: this.#lookDegrees,
      sticks: [...this.#sticks.values()],
    };
    const startedAt = this.#changedAt;
    this.#tapped.clear();
    for (const name of this.#heldSince.keys()) this.#heldSince.set(name, null);
    this.#lookDegrees = { pitch: 0, yaw: 0 };
    this.#changedAt = null;
    return { ...actionRows(state, numFrames, framesPerSecond), startedAt };
  }
}

/** Turn an input state into the action rows of a segment: a pure function. */
export function actionRows(state, numFrames, framesPerSecond) {
  const keyboard = [];
  const mouse = [];
  for (let frame = 0; frame < numFrames; frame += 1) {
    const isOn = (name) => isHeld(state, name, (frame * 1000) / framesPerSecond);
    keyboard.push([...KEYS.map((name) => Number(isOn(name))), ...Array(NUM_UNUSED_KEYS).fill(0)]);
    mouse.push(lookRow(state, isOn, numFrames, framesPerSecond));
  }
  cancelOpposites(keyboard);
  return { keyboard, mouse };
}

function isHeld({ held, tapped, sticks }, name, milliseconds) {
  const isTapped = tapped.has(name) && milliseconds <= tapped.get(name);
  const axis = { forward: (s) => s.y, back: (s) => -s.y, left: (s) => -s.x, right: (s) => s.x };
  const isTilted = name in axis && sticks.some((stick) => axis[name](stick) > STICK_THRESHOLD);
  return held.has(name) || isTapped || isTilted;
}

function lookRow({ lookDegrees, sticks }, isOn, numFrames, framesPerSecond) {
  const rate = (axis, more, less) => {
    const tilt = sticks.reduce((sum, stick) => sum + stick[axis], 0);
    const direction = Number(isOn(more)) - Number(isOn(less)) + tilt;
    const held = (direction * HELD_DEGREES_PER_SECOND) / framesPerSecond;
    return toUnits(held + lookDegrees[axis] / numFrames);
  };
  return [rate("pitch", "lookUp", "lookDown"), rate("yaw", "lookRight", "lookLeft")];
}

function toUnits(degrees) {
  const units = degrees / DEGREES_PER_UNIT;
  const bounded = Math.max(-MAX_UNITS_PER_FRAME, Math.min(MAX_UNITS_PER_FRAME, units));
  return Math.round(bounded * DECIMALS) / DECIMALS || 0; // and never a negative zero
}

/** Both ways at once is neither, as on a keyboard with two hands on it. */
function cancelOpposites(keyboard) {
  for (const row of keyboard) {
    if (row[0] && row[1]) row[0] = row[1] = 0;
    if (row[2] && row[3]) row[2] = row[3] = 0;
  }
}
