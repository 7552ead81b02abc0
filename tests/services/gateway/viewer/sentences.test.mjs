import assert from "node:assert/strict";
import test from "node:test";

import { duration, endingWords, queueWords } from "../../../../services/gateway/viewer/sentences.js";

test("a queue says how many are ahead and behind", () => {
  assert.equal(queueWords({ position: 1, length: 4 })[0], "You are next");
  assert.deepEqual(queueWords({ position: 3, length: 5 }), [
    "Number 3 in the queue",
    "2 ahead of you, 2 behind you.",
  ]);
  assert.equal(queueWords({ position: 2, length: 2 })[1], "1 ahead of you.");
});

test("an ending that a newer server made up is told all the same", () => {
  assert.equal(endingWords({ error: null, reason: "eclipse" }).title, "The walk is over");
  assert.equal(endingWords({ error: { code: "eclipse" } }).title, "The walk is over");
});

test("lengths of time are said as people say them", () => {
  assert.deepEqual([0.2, 1, 15, 90, 600].map(duration), [
    "1 second",
    "1 second",
    "15 seconds",
    "90 seconds",
    "10 minutes",
  ]);
});
