/**
 * The walk's page: the picture, what lies over it, the figures and the buttons' faces.
 *
 * It draws what it is told and knows no session.
 */

import { Loom } from "./loom.js";
import { STATE_NAMES } from "./sentences.js";

const DOT_OF_STATE = { active: "good", dropped: "bad", resuming: "warn", queued: "warn" };
const NOT_YET = new Set(["new", "queued", "opening"]);
const GLOW_FRAMES = 4; // the light around the picture is large to draw, and slow to the eye
const TOAST_SECONDS = 4;

const byId = (id) => document.getElementById(id);

export class WalkView {
  loom = new Loom(byId("loom"));
  stage = byId("stage");
  stick = byId("stick");
  screen = byId("screen");
  #context = this.screen.getContext("2d", { alpha: false });
  #glow = byId("glow").getContext("2d", { alpha: false });
  #frame = document.querySelector(".frame");
  #veil = byId("veil");
  #figures = new Map();
  #toastTimer = null;
  #shownState = "";

  /** Get ready for a walk: its title, its seed, and what to look at until it is there. */
  open({ title, seed, picture }) {
    const number = document.createElement("small");
    number.textContent = `seed ${seed}`;
    byId("walk-title").replaceChildren(title, number);
    byId("coach").classList.remove("is-done");
    byId("coach").textContent = "W A S D to walk, drag or \u2190 \u2192 to look";
    this.setState("new");
    this.unveil();
    this.loom.clear();
    this.#clear();
    if (picture) this.#showStart(picture);
  }

  /** Draw a picture of the world; its number stands on the canvas, for tests and the curious. */
  paint(picture, frameIndex = 0) {
    const { width, height } = picture;
    this.screen.dataset.frame = frameIndex;
    if (this.screen.width !== width || this.screen.height !== height) {
      Object.assign(this.screen, { width, height });
    }
    this.#context.drawImage(picture, 0, 0);
    if (frameIndex % GLOW_FRAMES) return;
    const { width: glowWidth, height: glowHeight } = this.#glow.canvas;
    this.#glow.drawImage(picture, 0, 0, glowWidth, glowHeight);
  }

  /** The player has moved: the hint has done its work. */
  dismissCoach() {
    byId("coach").classList.add("is-done");
  }

  setState(state) {
    if (state === this.#shownState) return;
    this.#shownState = state;
    byId("state").textContent = STATE_NAMES[state] ?? state;
    byId("state-dot").className = `dot ${DOT_OF_STATE[state] ?? ""}`;
    for (const tool of ["pause", "record", "save-actions"]) {
      byId(tool).disabled = NOT_YET.has(state) || (state === "ended" && tool !== "save-actions");
    }
    document.body.dataset.state = state;
  }

  /**
   * Lay something over the picture.
   *
   * @param {object} veil
   * @param {string} veil.title
   * @param {string} veil.words
   * @param {boolean} veil.isWaiting whether something is under way
   * @param {string} veil.code small print
   * @param {{label: string, onClick: () => void, isMain?: boolean}[]} veil.actions
   */
  veil({ title, words, isWaiting = false, code = "", actions = [] }) {
    const isNew = this.#veil.hidden || byId("veil-title").textContent !== title;
    this.#veil.hidden = false;
    this.#frame.classList.add("is-veiled");
    this.#frame.classList.toggle("is-away", isWaiting);
    byId("veil-title").textContent = title;
    byId("veil-words").textContent = words;
    byId("veil-threads").hidden = !isWaiting;
    byId("veil-code").textContent = code;
    if (!isNew) return; // buttons stay, so that nobody's focus is taken away
    byId("veil-actions").replaceChildren(...actions.map(makeButton));
    byId("veil-actions").querySelector("button")?.focus({ preventScroll: true });
  }

  unveil() {
    const focused = document.activeElement;
    const isFree = focused === document.body || focused === byId("walk-title");
    const hadFocus = isFree || this.#veil.contains(focused);
    this.#veil.hidden = true;
    this.#frame.classList.remove("is-veiled", "is-away");
    byId("veil-title").textContent = "";
    if (hadFocus) this.stage.focus({ preventScroll: true });
  }

  /** Show live figures: pairs of a name and a value. */
  showFigures(pairs) {
    for (const [name, value] of pairs) {
      let cell = this.#figures.get(name);
      if (!cell) {
        cell = document.createElement("dd");
        const term = document.createElement("dt");
        term.textContent = name;
        const pair = document.createElement("div");
        pair.append(term, cell);
        byId("figures").append(pair);
        this.#figures.set(name, cell);
      }
      if (cell.textContent !== value) cell.textContent = value;
    }
  }

  showPaused(isPaused) {
    byId("pause").classList.toggle("is-on", isPaused);
    byId("pause-label").textContent = isPaused ? "Go on" : "Pause";
  }

  /** Show how long a film is, in seconds, or that none is made. */
  showRecording(seconds) {
    const isOn = seconds !== null;
    byId("record").setAttribute("aria-pressed", String(isOn));
    byId("record-label").textContent = isOn ? "Stop" : "Record";
    byId("tape").hidden = !isOn;
    if (!isOn) return;
    const minutes = Math.floor(seconds / 60);
    const rest = String(Math.floor(seconds % 60)).padStart(2, "0");
    byId("tape-time").textContent = `${minutes}:${rest}`;
  }

  showCrisp(isCrisp) {
    this.screen.classList.toggle("crisp", isCrisp);
    byId("crisp").setAttribute("aria-pressed", String(isCrisp));
  }

  toast(sentence) {
    const toast = byId("toast");
    toast.textContent = sentence;
    toast.classList.add("is-shown");
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => toast.classList.remove("is-shown"), TOAST_SECONDS * 1000);
  }

  #clear() {
    for (const context of [this.#context, this.#glow]) {
      context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    }
  }

  async #showStart(picture) {
    if (typeof picture !== "string") {
      this.paint(picture);
      return;
    }
    const image = new Image();
    image.src = picture;
    await image.decode();
    if (this.#shownState !== "active") this.paint(image);
  }
}

function makeButton({ label, onClick, isMain = false }) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  if (isMain) button.className = "primary";
  button.addEventListener("click", onClick);
  return button;
}
