import assert from "node:assert/strict";
import test from "node:test";

import { Pacer, Playout } from "../../../../services/gateway/viewer/playout.js";

class Picture {
  isClosed = false;

  constructor(index) {
    this.index = index;
  }

  close() {
    this.isClosed = true;
  }
}

function fill(playout, first, count) {
  const pictures = Array.from({ length: count }, (_, index) => new Picture(first + index));
  for (const picture of pictures) playout.push(picture);
  return pictures;
}

/** Tick at a screen's pace; returns pairs of when and what was shown. */
function watch(playout, from, until, isExpecting = true, step = 5) {
  const shown = [];
  for (let now = from; now <= until; now += step) {
    const picture = playout.tick(now, isExpecting);
    if (picture) shown.push([now, picture.index]);
  }
  return shown;
}

const options = { framesPerSecond: 20, startFrames: 4, capacity: 12 };

test("nothing is shown before a segment waits, then a frame at each of its times", () => {
  const playout = new Playout(options);
  fill(playout, 0, 3);
  assert.deepEqual(watch(playout, 0, 200), []);
  fill(playout, 3, 1);
  const shown = watch(playout, 205, 360);
  assert.deepEqual(shown, [
    [205, 0],
    [255, 1],
    [305, 2],
    [355, 3],
  ]);
  assert.equal(playout.figures.numStalls, 0);
});

test("a screen that is late by a little catches up, and what it passed over is closed", () => {
  const playout = new Playout(options);
  const pictures = fill(playout, 0, 8);
  assert.equal(playout.tick(0, true).index, 0);
  assert.equal(playout.tick(160, true).index, 3);
  assert.deepEqual(
    pictures.map(({ isClosed }) => isClosed),
    [false, true, true, false, false, false, false, false],
  );
  assert.equal(playout.figures.numSkipped, 2);
});

test("a screen that was away begins anew where it was, and does not race", () => {
  const playout = new Playout(options);
  fill(playout, 0, 8);
  assert.equal(playout.tick(0, true).index, 0);
  assert.equal(playout.tick(5000, true).index, 1);
  assert.equal(playout.tick(5050, true).index, 2);
});

test("an empty buffer is one stall until a segment waits again", () => {
  const playout = new Playout(options);
  fill(playout, 0, 4);
  watch(playout, 0, 400);
  fill(playout, 4, 2);
  assert.deepEqual(watch(playout, 405, 500), []);
  fill(playout, 6, 2);
  assert.deepEqual(watch(playout, 500, 560), [
    [500, 4],
    [550, 5],
  ]);
  assert.equal(playout.figures.numStalls, 1);
  assert.ok(Math.abs(playout.figures.stalledSeconds - 0.3) < 0.011);
});

test("an empty buffer where nothing is expected is no stall, and the end is shown whole", () => {
  const playout = new Playout(options);
  fill(playout, 0, 2);
  assert.equal(watch(playout, 0, 300, false).length, 2);
  assert.equal(playout.figures.numStalls, 0);
});

test("the buffer never grows beyond its capacity", () => {
  const playout = new Playout(options);
  const pictures = fill(playout, 0, 1000);
  assert.equal(playout.numBuffered, 12);
  assert.equal(pictures.filter(({ isClosed }) => isClosed).length, 988);
  assert.equal(playout.tick(0, true).index, 988);
});

test("a pause keeps what waits and counts no stall", () => {
  const playout = new Playout(options);
  fill(playout, 0, 8);
  watch(playout, 0, 100);
  playout.hold();
  const [first] = watch(playout, 5000, 5050);
  assert.deepEqual(first, [5000, 3]);
  assert.equal(playout.figures.numStalls, 0);
});

test("a jump closes what waits and goes on with what comes next, without a stall", () => {
  const playout = new Playout(options);
  const pictures = fill(playout, 0, 8);
  watch(playout, 0, 60);
  playout.jump();
  assert.ok(pictures.slice(2).every(({ isClosed }) => isClosed));
  assert.equal(playout.numBuffered, 0);
  fill(playout, 8, 4);
  assert.deepEqual(watch(playout, 70, 75), [[70, 8]]);
  assert.deepEqual(playout.figures, { numShown: 3, numSkipped: 0, numStalls: 0, stalledSeconds: 0 });
});

test("frames a second are those of the last second", () => {
  const playout = new Playout(options);
  fill(playout, 0, 12);
  watch(playout, 0, 400);
  assert.equal(playout.framesPerSecond(400), 9);
  assert.equal(playout.framesPerSecond(5000), 0);
});

test("the first segment is asked for at once, the next when it is needed and no sooner", () => {
  const pacer = new Pacer({ framesPerSecond: 20, framesPerSegment: 4 });
  assert.ok(pacer.isTime(0, 0, 2));
  pacer.learn(60);
  assert.ok(!pacer.isTime(4, 0, 2));
  assert.ok(pacer.isTime(2, 0, 2));
});

test("a server slower than its pace is kept busy with all the segments it allows", () => {
  const pacer = new Pacer({ framesPerSecond: 20, framesPerSegment: 4 });
  pacer.learn(2000);
  assert.ok(pacer.isTime(4, 4, 2));
  assert.ok(!pacer.isTime(8, 8, 2));
});

test("one slow segment is feared at once and forgotten after a few", () => {
  const pacer = new Pacer({ framesPerSecond: 20, framesPerSegment: 4 });
  pacer.learn(100);
  pacer.learn(900);
  assert.equal(pacer.leadMs, 900);
  for (let index = 0; index < 7; index += 1) pacer.learn(120);
  assert.equal(pacer.leadMs, 900);
  pacer.learn(120);
  assert.equal(pacer.leadMs, 120);
});

test("after a server stood still no more is asked for than can wait", () => {
  const pacer = new Pacer({ framesPerSecond: 20, framesPerSegment: 4 });
  pacer.learn(60_000);
  assert.ok(pacer.isTime(7, 0, 2));
  assert.ok(!pacer.isTime(8, 0, 2));
});

/** A server and a screen in one loop: how many frames wait when a segment is asked for. */
function simulate({ segmentMs, seconds }) {
  const options = { framesPerSecond: 16, framesPerSegment: 12 };
  const pacer = new Pacer(options);
  const playout = new Playout({ ...options, startFrames: 12, capacity: 36 });
  const asked = [];
  let waitsAtAsk = [];
  for (let now = 0; now < seconds * 1000; now += 16) {
    while (asked.length && asked[0] + segmentMs <= now) {
      pacer.learn(now - asked.shift());
      fill(playout, 0, 12);
    }
    const numAsked = 12 * asked.length;
    if (pacer.isTime(playout.numBuffered + numAsked, numAsked, 2)) {
      asked.push(now);
      if (now > 3000) waitsAtAsk.push(playout.numBuffered);
    }
    playout.tick(now, asked.length > 0);
  }
  return { ...playout.figures, mostAtAsk: Math.max(...waitsAtAsk) };
}

test("with a quick server actions are sent two frames before they are needed, and none stalls", () => {
  const { numStalls, mostAtAsk } = simulate({ segmentMs: 40, seconds: 20 });
  assert.equal(numStalls, 0);
  assert.ok(mostAtAsk <= 3, `${mostAtAsk}`);
});

test("with a server that barely keeps pace none stalls either", () => {
  assert.equal(simulate({ segmentMs: 700, seconds: 20 }).numStalls, 0);
});
