import assert from "node:assert/strict";
import test from "node:test";

import { Controls, actionRows } from "../../../../services/gateway/viewer/controls.js";

const FPS = 10;
const column = (rows, index) => rows.map((row) => row[index]);

test("what is held is held for the whole segment, in the model's columns", () => {
  for (const [index, name] of ["forward", "back", "left", "right"].entries()) {
    const controls = new Controls();
    controls.press(name, 0);
    const { keyboard, mouse } = controls.sample(3, FPS);
    const expected = [0, 0, 0, 0, 0, 0];
    expected[index] = 1;
    assert.deepEqual(keyboard, [expected, expected, expected]);
    assert.deepEqual(mouse, Array(3).fill([0, 0]));
  }
});

test("the newest state wins: what was let go before the sample is not walked on with", () => {
  const controls = new Controls();
  controls.press("forward", 0);
  controls.sample(4, FPS);
  controls.release("forward", 250);
  controls.press("right", 260);
  const { keyboard } = controls.sample(4, FPS);
  assert.deepEqual(column(keyboard, 0), [0, 0, 0, 0]);
  assert.deepEqual(column(keyboard, 3), [1, 1, 1, 1]);
});

test("a tap between two samples is walked for as long as it lasted, a frame at least", () => {
  const controls = new Controls();
  controls.press("left", 0);
  controls.release("left", 5);
  assert.deepEqual(column(controls.sample(4, FPS).keyboard, 2), [1, 0, 0, 0]);
  controls.press("left", 100);
  controls.release("left", 300);
  assert.deepEqual(column(controls.sample(4, FPS).keyboard, 2), [1, 1, 1, 0]);
  assert.deepEqual(column(controls.sample(4, FPS).keyboard, 2), [0, 0, 0, 0]);
});

test("a keyboard that repeats a held key changes nothing", () => {
  const controls = new Controls();
  controls.press("forward", 0);
  controls.sample(4, FPS);
  controls.press("forward", 30);
  assert.equal(controls.changedAt, null);
});

test("two opposite keys are neither", () => {
  const held = new Set(["forward", "back", "left"]);
  const state = { held, tapped: new Map(), lookDegrees: { pitch: 0, yaw: 0 }, sticks: [] };
  assert.deepEqual(actionRows(state, 1, FPS).keyboard, [[0, 0, 1, 0, 0, 0]]);
});

test("the view turns by as much as the hand did, spread over the segment", () => {
  const controls = new Controls();
  controls.look(9, -4.5, 0);
  controls.look(6, 0, 1);
  const { mouse } = controls.sample(4, FPS);
  const degrees = (axis) => mouse.reduce((sum, row) => sum + row[axis] * 15, 0);
  assert.ok(Math.abs(degrees(1) - 15) < 0.01);
  assert.ok(Math.abs(degrees(0) + 4.5) < 0.01);
  assert.deepEqual(controls.sample(1, FPS).mouse, [[0, 0]]);
});

test("looks stay within what a model has learnt", () => {
  const controls = new Controls();
  controls.look(100_000, -100_000, 0);
  assert.deepEqual(controls.sample(2, FPS).mouse, Array(2).fill([-0.5, 0.5]));
});

test("looking by key is to the right and up for a positive rate", () => {
  const controls = new Controls();
  controls.press("lookRight", 0);
  controls.press("lookUp", 0);
  assert.deepEqual(controls.sample(1, FPS).mouse, [[0.4, 0.4]]);
});

test("a stick walks beyond its threshold and looks in proportion", () => {
  const controls = new Controls();
  controls.tilt("stick", { x: 0.2, y: 0.9 }, 0);
  controls.tilt("gamepad", { yaw: -0.5 }, 0);
  const { keyboard, mouse } = controls.sample(1, FPS);
  assert.deepEqual(keyboard, [[1, 0, 0, 0, 0, 0]]);
  assert.deepEqual(mouse, [[0, -0.2]]);
});

test("the time of the first change is told with the sample that tells of it", () => {
  const controls = new Controls();
  assert.equal(controls.sample(1, FPS).startedAt, null);
  controls.press("forward", 120);
  controls.look(1, 0, 150);
  assert.equal(controls.sample(1, FPS).startedAt, 120);
  assert.equal(controls.sample(1, FPS).startedAt, null);
});

test("nobody is idle who holds a key, and everybody is who let all go", () => {
  const controls = new Controls();
  assert.ok(controls.isIdle);
  controls.press("forward", 0);
  controls.tilt("stick", { y: 1 }, 0);
  controls.sample(1, FPS);
  assert.ok(!controls.isIdle);
  controls.releaseAll();
  assert.ok(controls.isIdle);
  assert.deepEqual(controls.sample(1, FPS).keyboard, [[0, 0, 0, 0, 0, 0]]);
});
