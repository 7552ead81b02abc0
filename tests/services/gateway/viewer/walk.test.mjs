import assert from "node:assert/strict";
import test from "node:test";

import { Controls } from "../../../../services/gateway/viewer/controls.js";
import { Session } from "../../../../services/gateway/viewer/client.js";
import { SessionError } from "../../../../services/gateway/viewer/protocol.js";
import { Walk } from "../../../../services/gateway/viewer/walk.js";
import { READY, Surroundings, settle } from "./surroundings.mjs";

/** A decoder that gives a picture for every frame at once, or fails when it is told to. */
class PlainDecoder {
  numPending = 0;
  name = "plain";
  isBroken = false;
  numResets = 0;
  pictures = [];

  constructor(handlers) {
    this.handlers = handlers;
  }

  decode(frame) {
    if (this.isBroken) {
      this.handlers.onError(new SessionError("bad_message", "broken"));
      return;
    }
    const picture = { isClosed: false, close: () => (picture.isClosed = true) };
    this.pictures.push(picture);
    this.handlers.onPicture(frame, picture);
  }

  reset() {
    this.numResets += 1;
  }

  close() {}
}

/** A walk at 20 frames a second in segments of 4, whose server takes so many milliseconds. */
async function walk({ segmentMs = 30, ready = {} } = {}) {
  const around = new Surroundings();
  const session = new Session({ url: "http://here/", pingSeconds: 1e6, ...ready }, around.environment);
  const controls = new Controls();
  const shown = [];
  const rests = [];
  let decoder;
  const walked = new Walk(
    {
      session,
      controls,
      onShow: (_picture, { frameIndex }, action) => shown.push({ at: around.time, frameIndex, action }),
      onRest: (isResting) => rests.push(isResting),
    },
    { now: () => around.time, makeDecoder: (handlers) => (decoder = new PlainDecoder(handlers)) },
  );
  session.open();
  await settle();
  around.socket.accept();
  around.socket.say({ ...READY, ...ready });
  around.socket.show(0);
  let numMade = 0;
  /** Let time go on, with ticks as a screen makes them and a server that answers. */
  const pass = (milliseconds) => {
    for (const end = around.time + milliseconds; around.time < end; around.advance(5)) {
      walked.tick(around.time);
      const numAsked = around.socket.ofType("actions").length;
      for (; numMade < numAsked; numMade += 1) {
        const segmentIndex = numMade;
        around.environment.setTimeout(() => around.socket.segment(segmentIndex), segmentMs);
      }
    }
  };
  return { around, session, controls, walked, shown, rests, pass, decoder };
}

const numAsked = ({ around }) => around.socket.ofType("actions").length;
const keyOf = ({ action }) => action?.keyboard.findIndex((held) => held === 1) ?? -1;

test("the start image is shown at once, then a frame at each of its times, none twice", async () => {
  const made = await walk();
  made.pass(2000);
  const numbers = made.shown.map(({ frameIndex }) => frameIndex);
  assert.deepEqual(numbers, [...Array(numbers.length).keys()]);
  assert.ok(numbers.length >= 38, `${numbers.length}`);
  const pauses = made.shown.slice(2).map(({ at }, index) => at - made.shown[index + 1].at);
  assert.deepEqual([...new Set(pauses)], [50]);
  assert.equal(made.walked.figures.numStalls, 0);
});

test("pictures are closed once they were shown", async () => {
  const made = await walk();
  made.pass(1000);
  const numOpen = made.decoder.pictures.filter(({ isClosed }) => !isClosed).length;
  assert.equal(numOpen, made.walked.figures.numBuffered);
});

test("the first step from rest is seen as soon as the server has made it", async () => {
  const made = await walk();
  made.pass(1007);
  const pressedAt = made.around.time;
  made.controls.press("right", pressedAt);
  made.pass(500);
  const first = made.shown.find((frame) => keyOf(frame) === 3);
  assert.ok(first.at - pressedAt <= 50, `${first.at - pressedAt} ms`);
  assert.ok(made.walked.figures.actionToFrameSeconds <= 0.05);
  assert.equal(made.walked.figures.numDropped, 0);
});

test("a turn while walking skips no frame", async () => {
  const made = await walk();
  made.controls.press("forward", 0);
  made.pass(1000);
  made.controls.press("lookRight", made.around.time);
  made.pass(1000);
  const numbers = made.shown.map(({ frameIndex }) => frameIndex);
  assert.deepEqual(numbers, [...Array(numbers.length).keys()]);
});

test("while it is held nothing is shown or asked for, and it goes on where it stood", async () => {
  const made = await walk();
  made.pass(500);
  made.walked.hold();
  const before = [made.shown.length, numAsked(made)];
  made.pass(1000);
  assert.deepEqual([made.shown.length, numAsked(made)], before);
  made.walked.go();
  made.pass(300);
  made.walked.hold();
  made.pass(150); // too short for the clock to begin anew by itself
  made.walked.go();
  made.pass(500);
  const numbers = made.shown.map(({ frameIndex }) => frameIndex);
  assert.deepEqual(numbers, [...Array(numbers.length).keys()]);
  assert.equal(made.walked.figures.numStalls, 0);
});

test("nobody's walk rests after a while and wakes with the first touch", async () => {
  const made = await walk();
  made.pass(21_000);
  assert.deepEqual(made.rests, [true]);
  const before = numAsked(made);
  made.pass(5000);
  assert.equal(numAsked(made), before);
  made.controls.press("forward", made.around.time);
  made.pass(200);
  assert.deepEqual(made.rests, [true, false]);
  assert.ok(numAsked(made) > before);
  assert.equal(made.walked.figures.numStalls, 0, "standing still is no stall");
});

test("a server that is slower than the pace stalls, and says so", async () => {
  const made = await walk({ segmentMs: 450 });
  made.pass(3000);
  assert.ok(made.walked.figures.numStalls > 0);
  assert.ok(made.walked.figures.numAsked <= 8, "no more is on its way than the server allows");
});

test("video that cannot be decoded is asked for as JPEG instead", async () => {
  const made = await walk({ ready: { encoding: "h264" } });
  made.decoder.isBroken = true;
  made.pass(200);
  made.around.advance(1000);
  made.around.socket.accept();
  assert.equal(made.around.socket.sent[0].encoding, "jpeg");
  assert.ok(made.decoder.numResets >= 1);
});

test("pictures that cannot be decoded end the walk in words", async () => {
  const made = await walk();
  made.decoder.isBroken = true;
  let ending;
  made.session.on("ended", (detail) => (ending = detail));
  made.pass(200);
  assert.equal(made.session.state, "ended");
  assert.equal(ending.error.message, "broken");
});
