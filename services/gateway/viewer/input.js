/**
 * Listens to keyboard, mouse, touch and gamepad, and tells `Controls` what the player does.
 *
 * Press and drag looks around; a click gives the mouse to the view, Escape takes it back. On a touch
 * screen a stick walks and a drag elsewhere looks. It knows events, and nothing of rows or sessions.
 */

const KEY_OF_CODE = {
  KeyW: "forward",
  KeyS: "back",
  KeyA: "left",
  KeyD: "right",
  ArrowLeft: "lookLeft",
  ArrowRight: "lookRight",
  ArrowUp: "lookUp",
  ArrowDown: "lookDown",
};
const DEGREES_PER_PIXEL = 0.15;
const DEGREES_PER_TOUCH_PIXEL = 0.3;
const CLICK_PIXELS = 4; // a pointer that moved less was meant as a click
const GAMEPAD_DEAD_ZONE = 0.15;

/** Listen on a stage and its stick until the returned object is stopped. */
export class Input {
  #controls;
  #stage;
  #stick;
  #stopped = new AbortController();
  #drags = new Map(); // pointer -> where it was, and how far it went

  constructor({ controls, stage, stick }) {
    this.#controls = controls;
    this.#stage = stage;
    this.#stick = stick;
    const { signal } = this.#stopped;
    const on = (target, type, listener) =>
      target.addEventListener(type, listener, { signal, passive: false });
    on(window, "keydown", (event) => this.#key(event, "press"));
    on(window, "keyup", (event) => this.#key(event, "release"));
    on(window, "blur", () => controls.releaseAll());
    on(document, "visibilitychange", () => controls.releaseAll());
    on(stage, "pointerdown", (event) => this.#down(event));
    on(stage, "pointermove", (event) => this.#move(event));
    on(stage, "pointerup", (event) => this.#up(event));
    on(stage, "pointercancel", (event) => this.#up(event));
    on(stick, "pointerdown", (event) => this.#grip(event));
    on(stick, "pointermove", (event) => this.#tilt(event));
    on(stick, "pointerup", () => this.#letGo());
    on(stick, "pointercancel", () => this.#letGo());
  }

  stop() {
    this.#stopped.abort();
    this.#controls.releaseAll();
    if (document.pointerLockElement === this.#stage) document.exitPointerLock();
  }

  /** Read the first gamepad; to be called once a screen's frame. */
  pollGamepad(now) {
    const pad = navigator.getGamepads?.().find((candidate) => candidate?.connected);
    if (!pad) return;
    const [x, y, yaw, pitch] = [0, 1, 2, 3].map((axis) => quiet(pad.axes[axis] ?? 0));
    this.#controls.tilt("gamepad", { x, y: -y, yaw, pitch: -pitch }, now);
  }

  #key(event, does) {
    const name = KEY_OF_CODE[event.code];
    if (!name || event.ctrlKey || event.metaKey || event.altKey) return;
    if (does === "press" && event.target.closest?.("input, textarea, select, dialog")) return;
    event.preventDefault(); // arrows scroll a page
    this.#controls[does](name, event.timeStamp);
  }

  #down(event) {
    if (event.button !== 0) return;
    this.#stage.setPointerCapture(event.pointerId);
    this.#drags.set(event.pointerId, { x: event.clientX, y: event.clientY, travelled: 0 });
  }

  #move(event) {
    if (document.pointerLockElement === this.#stage) {
      this.#look(event.movementX, event.movementY, DEGREES_PER_PIXEL, event.timeStamp);
      return;
    }
    const drag = this.#drags.get(event.pointerId);
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    Object.assign(drag, { x: event.clientX, y: event.clientY });
    drag.travelled += Math.abs(dx) + Math.abs(dy);
    const isTouch = event.pointerType === "touch";
    // A finger pulls the world along, a mouse turns the head.
    if (isTouch) this.#look(-dx, -dy, DEGREES_PER_TOUCH_PIXEL, event.timeStamp);
    else this.#look(dx, dy, DEGREES_PER_PIXEL, event.timeStamp);
  }

  #up(event) {
    const drag = this.#drags.get(event.pointerId);
    this.#drags.delete(event.pointerId);
    const isClick = event.type === "pointerup" && drag && drag.travelled < CLICK_PIXELS;
    if (isClick && event.pointerType === "mouse" && !document.pointerLockElement) {
      // A browser may refuse, as it does right after Escape; dragging works all the same.
      Promise.resolve(this.#stage.requestPointerLock?.()).catch(() => {});
    }
  }

  #look(dx, dy, degrees, now) {
    if (dx || dy) this.#controls.look(dx * degrees, -dy * degrees, now);
  }

  #grip(event) {
    event.stopPropagation();
    this.#stick.setPointerCapture(event.pointerId);
    this.#tilt(event);
  }

  #tilt(event) {
    event.stopPropagation();
    if (!this.#stick.hasPointerCapture(event.pointerId)) return;
    const box = this.#stick.getBoundingClientRect();
    const radius = box.width / 2;
    const right = (event.clientX - box.left - radius) / radius;
    const down = (event.clientY - box.top - radius) / radius;
    const length = Math.max(1, Math.hypot(right, down));
    const [x, y] = [right / length, -down / length];
    this.#stick.style.setProperty("--x", x.toFixed(3));
    this.#stick.style.setProperty("--y", y.toFixed(3));
    this.#controls.tilt("stick", { x, y }, event.timeStamp);
  }

  #letGo() {
    this.#stick.style.setProperty("--x", "0");
    this.#stick.style.setProperty("--y", "0");
    this.#controls.tilt("stick", {}, performance.now());
  }
}

function quiet(value) {
  return Math.abs(value) < GAMEPAD_DEAD_ZONE ? 0 : value;
}
