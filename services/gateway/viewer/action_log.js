/**
 * Every action of a session in the order sent: what is told again after a broken connection, and
 * what a walk is replayed from.
 *
 * Action k leads from frame k to frame k+1. It knows no socket and no keys.
 */

import { NUM_KEYS, NUM_MOUSE_AXES, SessionError } from "./protocol.js";

const MAX_MOUSE_UNITS = 12;

export class ActionLog {
  #keyboard = [];
  #mouse = [];

  get length() {
    return this.#keyboard.length;
  }

  /** Append rows after checking them; returns the index of the first. */
  append(keyboard, mouse) {
    if (!keyboard.length || keyboard.length !== mouse.length) {
      throw new SessionError(
        "bad_message",
        `keyboard has ${keyboard.length} rows and mouse ${mouse.length}, expected as many, at least 1`,
      );
    }
    checkRows("keyboard", keyboard, NUM_KEYS, (value) => value === 0 || value === 1, "0 or 1");
    const inRange = (value) => Math.abs(value) <= MAX_MOUSE_UNITS; // false for what is no number
    checkRows("mouse", mouse, NUM_MOUSE_AXES, inRange, "a number from -12 to 12");
    const first = this.length;
    this.#keyboard.push(...keyboard);
    this.#mouse.push(...mouse);
    return first;
  }

  /** The rows from one action up to another, as `actions` messages of a bounded size. */
  *messages(from, maxRows) {
    for (let first = from; first < this.length; first += maxRows) {
      yield {
        type: "actions",
        action_index: first,
        keyboard: this.#keyboard.slice(first, first + maxRows),
        mouse: this.#mouse.slice(first, first + maxRows),
      };
    }
  }

  /** The project's action file of the first actions, as `worldloom play` reads it. */
  toFile(numActions = this.length) {
    return JSON.stringify({
      keyboard: this.#keyboard.slice(0, numActions),
      mouse: this.#mouse.slice(0, numActions),
    });
  }
}

function checkRows(name, rows, width, isGood, expected) {
  rows.forEach((row, index) => {
    if (row.length !== width) {
      throw new SessionError(
        "bad_message",
        `${name} row ${index} has ${row.length} values, expected ${width}`,
      );
    }
    const column = row.findIndex((value) => !isGood(value));
    if (column >= 0) {
      throw new SessionError(
        "bad_message",
        `${name} row ${index}, column ${column} is ${row[column]}, expected ${expected}`,
      );
    }
  });
}
