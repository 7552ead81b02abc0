import assert from "node:assert/strict";
import test from "node:test";

import { FrameDecoder, chooseEncoding, codecOf } from "../../../../services/gateway/viewer/decoder.js";
import { settle } from "./surroundings.mjs";

const KEY = Uint8Array.of(0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0, 1, 0x65, 1);
const DELTA = Uint8Array.of(0, 0, 1, 0x41, 1);

class Chunk {
  constructor(fields) {
    Object.assign(this, fields);
  }
}

/** A browser whose decoder gives pictures when the test says so, and whose bitmaps take their time. */
function browser({ isSupported = true, isBroken = false } = {}) {
  const pictures = [];
  class VideoDecoder {
    state = "unconfigured";
    static isConfigSupported = async () => ({ supported: isSupported });

    constructor(handlers) {
      Object.assign(this, handlers);
    }

    configure(config) {
      this.state = "configured";
      scope.configured.push(config.codec);
    }

    decode(chunk) {
      scope.chunks.push(chunk);
      const picture = { timestamp: chunk.timestamp, isClosed: false, close: () => (picture.isClosed = true) };
      pictures.push(picture);
      this.output(picture);
    }

    flush() {
      scope.numFlushes += 1;
      return Promise.resolve();
    }

    reset() {
      this.state = "unconfigured";
    }

    close() {
      this.state = "closed";
    }
  }
  const scope = {
    configured: [],
    chunks: [],
    pictures,
    numFlushes: 0,
    VideoDecoder,
    EncodedVideoChunk: Chunk,
    createImageBitmap: async (source) => {
      if (isBroken) throw new Error("not a picture");
      const size = source.size ?? 0;
      for (let turn = 0; turn < size; turn += 1) await settle(); // a large one is slow
      return { of: source.timestamp ?? source.size, isClosed: false, close() { this.isClosed = true; } };
    },
  };
  return scope;
}

function decoder(scope) {
  const shown = [];
  const errors = [];
  const made = new FrameDecoder(
    {
      onPicture: (frame, picture) => shown.push([frame.frameIndex, picture]),
      onError: (error) => errors.push(error),
    },
    scope,
  );
  return { made, shown, errors };
}

const jpeg = (frameIndex, size) => ({ kind: 0, frameIndex, data: new Uint8Array(size) });

async function drain(made) {
  while (made.numPending) await settle();
}

test("the codec is what the stream's sequence header says", () => {
  assert.equal(codecOf(KEY), "avc1.42c01e");
  assert.equal(codecOf(DELTA), null);
});

test("H.264 is asked for where the server offers it, the browser decodes it and it pays", async () => {
  const release = { encodings: ["jpeg", "h264"], width: 1280, height: 704 };
  assert.equal(await chooseEncoding(release, browser()), "h264");
  assert.equal(await chooseEncoding({ ...release, encodings: ["jpeg"] }, browser()), "jpeg");
  assert.equal(await chooseEncoding({ ...release, width: 64, height: 64 }, browser()), "jpeg");
  assert.equal(await chooseEncoding(release, browser({ isSupported: false })), "jpeg");
  assert.equal(await chooseEncoding(release, {}), "jpeg");
});

test("pictures come out in the order their frames went in, however long each takes", async () => {
  const { made, shown } = decoder(browser());
  [30, 1, 12].forEach((size, index) => made.decode(jpeg(index, size)));
  assert.equal(made.numPending, 3);
  await drain(made);
  assert.deepEqual(
    shown.map(([index]) => index),
    [0, 1, 2],
  );
});

test("video is decoded with its own codec, emptied after each segment, and lets go of its pictures", async () => {
  const scope = browser();
  const { made, shown } = decoder(scope);
  for (const first of [1, 3]) {
    made.decode({ kind: 1, frameIndex: first, data: KEY });
    made.decode({ kind: 2, frameIndex: first + 1, data: DELTA }, { isLast: true });
  }
  await drain(made);
  assert.deepEqual(scope.configured, ["avc1.42c01e"]);
  assert.deepEqual(
    scope.chunks.map(({ type }) => type),
    ["key", "delta", "key", "delta"],
  );
  assert.equal(scope.numFlushes, 2);
  assert.deepEqual(
    shown.map(([index]) => index),
    [1, 2, 3, 4],
  );
  assert.ok(scope.pictures.every(({ isClosed }) => isClosed));
  assert.equal(made.name, "H.264 (avc1.42c01e)");
});

test("frames behind a key frame that was left out wait for the next one", async () => {
  const { made, shown, errors } = decoder(browser());
  made.decode({ kind: 2, frameIndex: 1, data: DELTA });
  made.decode({ kind: 1, frameIndex: 2, data: KEY });
  await drain(made);
  assert.deepEqual(
    shown.map(([index]) => index),
    [2],
  );
  assert.equal(errors.length, 0);
});

test("a frame that was shown before is decoded and not shown", async () => {
  const { made, shown } = decoder(browser());
  made.decode({ kind: 1, frameIndex: 1, data: KEY, isRepeat: true });
  made.decode({ kind: 2, frameIndex: 2, data: DELTA });
  await drain(made);
  assert.deepEqual(
    shown.map(([index]) => index),
    [2],
  );
});

test("what cannot be decoded is told once, and nothing stays pending", async () => {
  const { made, errors } = decoder(browser({ isBroken: true }));
  made.decode(jpeg(1, 4));
  await drain(made);
  await settle();
  assert.equal(errors.length, 1);
  assert.match(errors[0].message, /not a picture/);
});
