/**
 * The thread under the picture: frames that were seen, that wait, and that were asked for.
 *
 * Seen frames run off to the left, as high as their step was; what waits and what was asked for
 * stands to the right of the needle. For those who want less motion it stands still and shows what
 * waits alone. It knows a canvas and numbers.
 */

const SPACING = 6; // CSS pixels from thread to thread
const NEEDLE = 0.62; // where now is, along the width
const LONGEST_PAST = 400;

export class Loom {
  #canvas;
  #context;
  #past = [];
  #isStill;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#isStill = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** A frame was seen that a step of this size led to, 0 to 1. */
  add(effort) {
    this.#past.push(effort);
    if (this.#past.length > LONGEST_PAST) this.#past.shift();
  }

  clear() {
    this.#past = [];
    this.draw({ numBuffered: 0, numAsked: 0 });
  }

  draw({ numBuffered, numAsked }) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const context = this.#context;
    context.scale(scale, scale);
    context.lineCap = "round";
    const colours = getComputedStyle(this.#canvas);
    const middle = height / 2;
    const needle = Math.round(width * NEEDLE);
    const thread = (x, half, colour, thickness) => {
      context.beginPath();
      context.moveTo(x, middle - half);
      context.lineTo(x, middle + half);
      context.lineWidth = thickness;
      context.strokeStyle = colour;
      context.stroke();
    };
    const past = this.#isStill.matches ? [] : this.#past;
    past.forEach((effort, index) => {
      const x = needle - SPACING * (past.length - index);
      if (x < 0) return;
      context.globalAlpha = 0.2 + 0.8 * (x / needle) ** 2;
      thread(x, 1.5 + effort * (middle - 4), colours.color, 2);
    });
    context.globalAlpha = 1;
    const accent = colours.getPropertyValue("--thread");
    for (let index = 1; index <= numBuffered; index += 1) {
      thread(needle + SPACING * index, middle * 0.45, accent, 2.5);
    }
    context.globalAlpha = 0.45;
    for (let index = 1; index <= numAsked; index += 1) {
      thread(needle + SPACING * (numBuffered + index), 1, accent, 2.5);
    }
    context.globalAlpha = 1;
    thread(needle, middle - 1, accent, 2.5);
  }
}
