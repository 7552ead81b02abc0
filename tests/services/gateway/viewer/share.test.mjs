import assert from "node:assert/strict";
import test from "node:test";

import { fileName, formatHash, newSeed, parseHash, parseSeed } from "../../../../services/gateway/viewer/share.js";

test("a link leads back to what it was made of", () => {
  const walk = { world: "old mill & pond", seed: 90071992547, prompt: "rain = 100%, \u00fcber #1" };
  assert.deepEqual(parseHash(formatHash(walk)), walk);
  assert.deepEqual(parseHash(formatHash({ world: "a", seed: 0 })), { world: "a", seed: 0, prompt: null });
});

test("a link that says nothing of use asks for nothing", () => {
  for (const hash of ["", "#", "#seed=-1", "#seed=1.5", "#seed=abc&world="]) {
    assert.deepEqual(parseHash(hash), { world: null, seed: null, prompt: null }, hash);
  }
});

test("a seed is a whole number that a double holds", () => {
  assert.equal(parseSeed(" 42 "), 42);
  assert.equal(parseSeed("9007199254740991"), 9007199254740991);
  for (const text of ["9007199254740992", "1e3", "", "-0", "0x10"]) assert.equal(parseSeed(text), null, text);
});

test("new seeds are short enough to say", () => {
  assert.equal(newSeed(() => 0.999999), 999999);
  assert.equal(newSeed(() => 0), 0);
});

test("files are named for the walk", () => {
  assert.equal(fileName({ world: "Old Mill/..", seed: 3 }, "mp4"), "worldloom-old-mill--3.mp4");
  assert.equal(fileName({ seed: 3 }, "json"), "worldloom-own-picture-3.json");
});
