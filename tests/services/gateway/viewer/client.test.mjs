import assert from "node:assert/strict";
import test from "node:test";

import { Session } from "../../../../services/gateway/viewer/client.js";
import { READY, Surroundings, settle, still } from "./surroundings.mjs";

async function start(options = {}) {
  const around = new Surroundings();
  const session = new Session({ url: "https://worlds.example/", ...options }, around.environment);
  const heard = [];
  for (const type of ["state", "queued", "frame", "reconnecting", "error", "ended", "notice"]) {
    session.on(type, (detail) => heard.push([type, detail]));
  }
  const opened = session.open();
  opened.catch(() => {}); // each test that cares looks at it
  await settle();
  around.socket?.accept();
  const of = (wanted) => heard.filter(([type]) => type === wanted).map(([, detail]) => detail);
  return { around, session, opened, of };
}

async function active(options) {
  const walk = await start(options);
  walk.around.socket.say(READY);
  walk.around.socket.show(0);
  return walk;
}

const states = (of) => of("state").map(({ state }) => state);
const frames = (of) => of("frame").map(({ frameIndex }) => frameIndex);

async function comeBack(around, ready) {
  around.advance(1000);
  around.socket.accept();
  around.socket.say({ ...READY, resume_token: "token 2", is_resumed: true, ...ready });
}

test("a session asks for what its options say and resolves with what the server grants", async () => {
  const { around, opened, of } = await active({ world: "meadow", seed: 7, lateFrames: "drop" });
  assert.equal(around.socket.url, "wss://worlds.example/v1/session");
  assert.equal(around.socket.protocol, "worldloom.v1");
  const [open] = around.socket.sent;
  assert.deepEqual(open, {
    type: "open",
    version: 1,
    world: "meadow",
    seed: 7,
    enable_memory: true,
    encoding: "jpeg",
    late_frames: "drop",
  });
  assert.equal((await opened).session_id, "s");
  assert.deepEqual(states(of), ["opening", "active"]);
  assert.deepEqual(frames(of), [0]);
});

test("the queue's positions are told before the session opens", async () => {
  const { around, of } = await start();
  around.socket.say({ type: "queued", position: 2, length: 3 });
  around.socket.say({ type: "queued", position: 1, length: 2 });
  around.socket.say(READY);
  assert.deepEqual(
    of("queued").map(({ position }) => position),
    [2, 1],
  );
  assert.deepEqual(states(of), ["opening", "queued", "opening", "active"]);
});

test("a token that cannot be had rejects the opening with its code", async () => {
  const { opened, session } = await start({
    getToken: () => Promise.reject(new TypeError("no network")),
  });
  await assert.rejects(opened, { code: "disconnected" });
  assert.equal(session.state, "ended");
});

test("a refusal rejects the opening, and nothing is tried again", async () => {
  const { around, opened } = await start();
  const refusal = { type: "error", code: "queue_full", message: "full", is_retryable: true };
  around.socket.say({ ...refusal, is_fatal: true });
  await assert.rejects(opened, { code: "queue_full", isRetryable: true, message: "full" });
  around.advance(60_000);
  assert.equal(around.sockets.length, 1);
  assert.equal(around.numTimers, 0);
});

test("actions are numbered on and split where a message may hold no more", async () => {
  const { around, session } = await active();
  assert.equal(session.act(...still(4)), 0);
  assert.equal(session.act(...still(10)), 4);
  const sent = around.socket.ofType("actions");
  assert.deepEqual(
    sent.map(({ action_index, keyboard }) => [action_index, keyboard.length]),
    [
      [0, 4],
      [4, 8],
      [12, 2],
    ],
  );
});

test("actions out of range are refused here, naming the place and the value", async () => {
  const { session } = await active();
  assert.throws(() => session.act([[0, 0, 0, 0, 0, 0]], [[NaN, 0]]), {
    code: "bad_message",
    message: "mouse row 0, column 0 is NaN, expected a number from -12 to 12",
  });
  assert.throws(() => session.act([[0, 0.5, 0, 0, 0, 0]], [[0, 0]]), /column 1 is 0.5, expected 0 or 1/);
  assert.throws(() => session.act([[0, 0]], [[0, 0]]), /2 values, expected 6/);
  assert.throws(() => session.act([], []), /at least 1/);
  assert.equal(session.nextActionIndex, 0);
});

test("a whole segment is acknowledged, a cut one is not", async () => {
  const { around, session } = await active();
  session.act(...still(8));
  around.socket.segment(0);
  around.socket.segment(1, { numSent: 3 });
  assert.deepEqual(
    around.socket.ofType("frames_received").map((message) => message.segment_index),
    [0],
  );
});

test("a segment whose last frame was left out is acknowledged when the next begins", async () => {
  const { around, session } = await active({ lateFrames: "drop" });
  session.act(...still(8));
  around.socket.segment(0, { numSent: 2 });
  around.socket.segment(1, { numDropped: 2 });
  assert.equal(around.socket.ofType("frames_received").length, 2);
  assert.equal(session.figures.numDropped, 2);
});

test("credits are given back by hand where that is wanted", async () => {
  const { around, session } = await active({ acknowledges: false });
  session.act(...still(4));
  around.socket.segment(0);
  assert.equal(around.socket.ofType("frames_received").length, 0);
  session.acknowledge(0);
  assert.equal(around.socket.ofType("frames_received").length, 1);
});

test("a broken connection is resumed, actions are told again, no frame comes twice", async () => {
  const { around, session, of } = await active();
  session.act(...still(4));
  session.act(...still(4));
  around.socket.segment(0);
  around.socket.segment(1, { numSent: 2 });
  around.socket.break();
  assert.equal(session.state, "dropped");
  session.act(...still(4));
  await comeBack(around, { next_action_index: 8, next_segment_index: 2 });
  const [resume] = around.socket.sent;
  assert.equal(resume.type, "resume");
  assert.equal(resume.resume_token, "token 1");
  assert.equal(resume.last_frame_index, 4);
  assert.deepEqual(
    around.socket.ofType("actions").map(({ action_index }) => action_index),
    [8],
  );
  around.socket.segment(1);
  around.socket.segment(2);
  assert.deepEqual(frames(of), [...Array(13).keys()]);
  assert.equal(session.figures.numReconnects, 1);
});

test("a decoder of video is given the beginning of a cut segment again, marked", async () => {
  const { around, session, of } = await active({ encoding: "h264" });
  session.act(...still(4));
  around.socket.segment(0, { numSent: 0 });
  around.socket.show(1, { kind: 1 });
  around.socket.show(2, { kind: 2 });
  around.socket.break();
  await comeBack(around, { next_action_index: 4 });
  around.socket.segment(0, { numSent: 0 });
  for (const index of [1, 2, 3, 4]) around.socket.show(index, { kind: index === 1 ? 1 : 2 });
  const repeats = of("frame").map(({ frameIndex, isRepeat }) => `${frameIndex}${isRepeat ? "*" : ""}`);
  assert.deepEqual(repeats, ["0", "1", "2", "1*", "2*", "3", "4"]);
});

test("the next resume shows the token of the latest ready", async () => {
  const { around } = await active();
  around.socket.break();
  await comeBack(around);
  around.socket.break();
  around.advance(1000);
  around.socket.accept();
  assert.equal(around.socket.sent[0].resume_token, "token 2");
});

test("tries come at growing intervals and are given up in the end", async () => {
  const { around, session, of } = await active({ reconnectSeconds: 10 });
  around.socket.break();
  while (session.state !== "ended") {
    around.advance(100);
    if (around.socket.readyState === 0) around.socket.break();
  }
  const waits = of("reconnecting").map(({ seconds }) => seconds);
  assert.deepEqual(waits.slice(0, 5), [0.25, 0.5, 1, 2, 2]);
  assert.ok(around.time >= 10_000 && around.time < 11_000, `${around.time}`);
  const [{ error }] = of("ended");
  assert.equal(error.code, "disconnected");
  assert.equal(around.numTimers, 0);
});

test("after a break that was mended the next one has its whole time again", async () => {
  const { around, session, of } = await active({ reconnectSeconds: 10 });
  around.socket.break();
  around.advance(300);
  around.socket.break();
  around.advance(9000);
  around.socket.accept();
  around.socket.say({ ...READY, is_resumed: true });
  around.advance(5000);
  around.socket.break();
  assert.equal(session.state, "dropped");
  assert.deepEqual(
    of("reconnecting").map(({ attempt, seconds }) => [attempt, seconds]),
    [
      [1, 0.25],
      [2, 0.5],
      [1, 0.25],
    ],
  );
});

test("after a break nothing is taken for announced that has not come", async () => {
  const { around, session } = await active();
  session.act(...still(8));
  around.socket.segment(0);
  around.socket.segment(1, { numSent: 1 });
  assert.equal(session.lastAnnouncedFrameIndex, 8);
  around.socket.break();
  await comeBack(around, { next_action_index: 8 });
  assert.equal(session.lastAnnouncedFrameIndex, 4);
});

test("a backend that is lost drops the session into a resume, a lost state ends it", async () => {
  const { around, session, of } = await active();
  const error = { type: "error", message: "m", is_fatal: true };
  around.socket.say({ ...error, code: "no_backend", is_retryable: true });
  assert.equal(session.state, "dropped");
  around.advance(1000);
  around.socket.accept();
  around.socket.say({ ...error, code: "state_lost", is_retryable: false });
  assert.equal(session.state, "ended");
  assert.equal(of("ended")[0].error.code, "state_lost");
});

test("a resumed session that was paused is paused, and goes on when it is told to", async () => {
  const { around, session } = await active();
  session.pause();
  around.socket.say({ type: "paused" });
  assert.throws(() => session.act(...still(4)), { code: "wrong_state" });
  around.socket.break();
  await comeBack(around, { is_paused: true });
  assert.equal(session.state, "paused");
  session.continue();
  around.socket.say({ type: "continued" });
  assert.equal(session.state, "active");
});

test("what a full queue refused is told again, in order, without a word to the player", async () => {
  const { around, session, of } = await active();
  session.act(...still(4));
  around.socket.say({ type: "actions_received", action_index: 0, num_actions: 4 });
  session.act(...still(4));
  session.act(...still(4));
  const refusal = { type: "error", message: "m", is_retryable: true, is_fatal: false };
  around.socket.say({ ...refusal, code: "too_many_actions", refused: "actions" });
  around.socket.say({ ...refusal, code: "bad_message", refused: "actions" });
  around.socket.sent.length = 0;
  session.act(...still(4));
  assert.equal(around.socket.ofType("actions").length, 0, "what would be out of order waits");
  around.advance(300);
  const sent = around.socket.ofType("actions");
  assert.deepEqual(
    sent.map(({ action_index }) => action_index),
    [4, 12],
  );
  assert.equal(of("error").length, 0);
});

test("round trips are measured, and a silent gateway is left", async () => {
  const { around, session } = await active({ pingSeconds: 1, silenceSeconds: 3 });
  around.advance(1000);
  const [ping] = around.socket.ofType("ping");
  around.advance(40);
  around.socket.say({ type: "pong", nonce: ping.nonce });
  assert.equal(session.figures.roundTripSeconds, 0.04);
  around.advance(6000);
  assert.notEqual(session.state, "active");
});

test("closing ends the session with the server's word, and twice is once", async () => {
  const { around, session, of } = await active();
  session.close();
  session.close();
  assert.equal(session.state, "closing");
  assert.equal(around.socket.ofType("close").length, 1);
  around.socket.say({ type: "ended", reason: "stopped", num_frames: 0 });
  assert.deepEqual(of("ended"), [{ reason: "stopped", error: null, numFrames: 0 }]);
  assert.equal(around.numTimers, 0);
});

test("closing in the queue or while away leaves nothing behind", async () => {
  const queued = await start();
  queued.around.socket.say({ type: "queued", position: 1, length: 1 });
  queued.session.close();
  assert.equal(queued.session.state, "ended");
  await assert.rejects(queued.opened, { code: "session_ended" });
  const away = await active();
  away.around.socket.break();
  away.session.close();
  assert.equal(away.session.state, "ended");
  assert.equal(away.around.numTimers + queued.around.numTimers, 0);
});

test("another encoding is asked for over a new connection", async () => {
  const { around, session } = await active({ encoding: "h264" });
  session.changeEncoding("jpeg");
  around.advance(1000);
  around.socket.accept();
  assert.equal(around.socket.sent[0].encoding, "jpeg");
});

test("nonsense from the other end ends the session in one sentence", async () => {
  const { around, of } = await active();
  around.socket.onmessage({ data: "{" });
  assert.equal(of("ended")[0].error.code, "bad_message");
});

test("messages of a newer gateway are passed over", async () => {
  const { around, session } = await active();
  around.socket.say({ type: "weather", sun: true });
  assert.equal(session.state, "active");
});

test("a close code of the gateway says what is wrong", async () => {
  const { around, opened } = await start();
  around.socket.break(4401, "");
  await assert.rejects(opened, { code: "bad_token", isRetryable: false });
});

test("the action file holds the actions whose frames came", async () => {
  const { around, session } = await active();
  session.act([[1, 0, 0, 0, 0, 0], ...still(3)[0]], [[0, 0.25], ...still(3)[1]]);
  session.act(...still(4));
  around.socket.segment(0);
  const file = JSON.parse(session.actionFile());
  assert.deepEqual(Object.keys(file), ["keyboard", "mouse"]);
  assert.equal(file.keyboard.length, 4);
  assert.deepEqual(file.keyboard[0], [1, 0, 0, 0, 0, 0]);
  assert.deepEqual(file.mouse[0], [0, 0.25]);
});
