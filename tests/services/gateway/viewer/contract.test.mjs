/**
 * The JavaScript tables against the Python ones, which tests/services/gateway/test_viewer.py writes
 * into the file that WORLDLOOM_CONTRACT names.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as protocol from "../../../../services/gateway/viewer/protocol.js";
import { CODE_SENTENCES, ENDINGS, STATE_NAMES, noticeWords } from "../../../../services/gateway/viewer/sentences.js";
import { LEGAL_MESSAGES, TRANSITIONS } from "../../../../services/gateway/viewer/session_state.js";

const file = process.env.WORLDLOOM_CONTRACT;
const contract = file ? JSON.parse(readFileSync(file, "utf8")) : null;
const options = { skip: contract ? false : "WORLDLOOM_CONTRACT names no file" };

const sorted = (names) => [...names].sort();
const sortedTable = (table) =>
  Object.fromEntries(Object.entries(table).map(([key, names]) => [key, sorted(names)]));

test("states, their ways and their messages are those of session_state.py", options, () => {
  assert.deepEqual(sortedTable(TRANSITIONS), sortedTable(contract.transitions));
  assert.deepEqual(sortedTable(LEGAL_MESSAGES), sortedTable(contract.legal_messages));
  assert.deepEqual(sorted(Object.keys(STATE_NAMES)), sorted(Object.keys(contract.transitions)));
});

test("constants are those of contract.py and protocol.py", options, () => {
  for (const [name, value] of Object.entries(contract.constants)) {
    assert.deepEqual(protocol[name], value, name);
  }
  assert.deepEqual(sorted(protocol.RETRYABLE), sorted(contract.retryable));
});

test("a frame's header is read as Python writes it", options, () => {
  const bytes = Uint8Array.from(Buffer.from(contract.frame.hex, "hex"));
  const { data, ...header } = protocol.parseFrame(bytes.buffer);
  assert.deepEqual(header, contract.frame.header);
  assert.equal(Buffer.from(data).toString(), "picture");
});

test("every code, ending and notice has its words", options, () => {
  assert.deepEqual(sorted(Object.keys(CODE_SENTENCES)), sorted(contract.codes));
  assert.deepEqual(sorted(Object.keys(ENDINGS)), sorted(contract.end_reasons));
  for (const kind of contract.notices) assert.ok(noticeWords({ kind, seconds: 10 }), kind);
});

test("a message that is no frame is refused, saying what came", () => {
  assert.throws(() => protocol.parseFrame(new ArrayBuffer(3)), {
    code: "bad_message",
    message: /^3 bytes that begin with 0, expected a frame behind a header of 24 bytes/,
  });
});
