/**
 * From encoded frames to pictures that a canvas can draw: JPEG, and H.264 by WebCodecs.
 *
 * Pictures come out in the order their frames went in. `chooseEncoding` decides before a session
 * is opened whether this browser can decode H.264. It knows no socket and no clock.
 */

import { KIND_H264_DELTA, KIND_H264_KEY, KIND_JPEG, SessionError } from "./protocol.js";

// Constrained baseline 3.1: 1280x720, and what a server without a better reason sends.
const LIKELY_CODEC = "avc1.42E01F";
// Smaller pictures are a few kilobytes as JPEG, and lose more than they save as video.
const SMALLEST_VIDEO_PIXELS = 160 * 160;
const SPS = 7; // kind of the NAL unit that begins a stream

/**
 * Return "h264" where the server offers it, this browser decodes it and it pays, else "jpeg".
 *
 * @param {{encodings: string[], width: number, height: number}} release as `fetchWorlds` tells it
 */
export async function chooseEncoding({ encodings, width, height }, scope = globalThis) {
  const isWorthIt = encodings.includes("h264") && width * height >= SMALLEST_VIDEO_PIXELS;
  if (!isWorthIt || typeof scope.VideoDecoder !== "function") return "jpeg";
  const config = { codec: LIKELY_CODEC, optimizeForLatency: true };
  const { supported } = await scope.VideoDecoder.isConfigSupported(config);
  return supported ? "h264" : "jpeg";
}

/** Return the codec string that an Annex B stream names in its SPS, or null without one. */
export function codecOf(data) {
  for (let at = 0; at + 6 < data.length; at += 1) {
    const isStart = data[at] === 0 && data[at + 1] === 0 && data[at + 2] === 1;
    if (!isStart || (data[at + 3] & 0x1f) !== SPS) continue;
    const bytes = [...data.subarray(at + 4, at + 7)]; // profile, constraints, level
    return `avc1.${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
  return null;
}

export class FrameDecoder {
  #onPicture;
  #onError;
  #scope;
  #video = null;
  #codec = "";
  #inVideo = []; // frames inside the video decoder, oldest first
  #order = Promise.resolve();
  #numPending = 0;
  #isClosed = false;

  /**
   * @param {object} handlers
   * @param handlers.onPicture called with a frame's header and its ImageBitmap, in order
   * @param handlers.onError called with a `SessionError` when frames cannot be decoded
   */
  constructor({ onPicture, onError }, scope = globalThis) {
    this.#onPicture = onPicture;
    this.#onError = onError;
    this.#scope = scope;
  }

  /** Frames that went in and have not come out. */
  get numPending() {
    return this.#numPending;
  }

  /** Name of what decodes at the moment, for a person. */
  get name() {
    return this.#codec ? `H.264 (${this.#codec})` : "JPEG";
  }

  /** Take in one frame; `isLast` says that the next one stands alone, so that none is held back. */
  decode(frame, { isLast = false } = {}) {
    this.#numPending += 1;
    if (frame.kind === KIND_JPEG) {
      this.#codec = "";
      const blob = new Blob([frame.data], { type: "image/jpeg" });
      this.#emit(frame, this.#scope.createImageBitmap(blob));
    } else if (frame.kind === KIND_H264_KEY || frame.kind === KIND_H264_DELTA) {
      this.#decodeVideo(frame, isLast);
    } else {
      this.#numPending -= 1;
      this.#onError(new SessionError("bad_message", `a frame of unknown kind ${frame.kind}`));
    }
  }

  /** Forget what is inside; the next frame must stand alone. */
  reset() {
    if (this.#video?.state === "configured") this.#video.reset();
    this.#numPending -= this.#inVideo.length;
    this.#inVideo = [];
    this.#codec = "";
  }

  close() {
    this.#isClosed = true;
    if (this.#video && this.#video.state !== "closed") this.#video.close();
  }

  #decodeVideo(frame, isLast) {
    const isKey = frame.kind === KIND_H264_KEY;
    if (isKey) this.#configure(codecOf(frame.data));
    if (!this.#codec) {
      this.#numPending -= 1; // the rest of a segment whose beginning was left out
      return;
    }
    this.#inVideo.push(frame);
    const timestamp = frame.frameIndex * 1000;
    const type = isKey ? "key" : "delta";
    this.#video.decode(new this.#scope.EncodedVideoChunk({ type, timestamp, data: frame.data }));
    // Every segment begins with a key frame, so here a decoder can be emptied at no cost.
    if (isLast) this.#video.flush().catch((error) => this.#failed(error));
  }

  #configure(codec) {
    if (codec === null) {
      this.#failed(new Error("a key frame without a sequence header"));
      return;
    }
    if (codec === this.#codec) return;
    this.#video ??= new this.#scope.VideoDecoder({
      output: (picture) => this.#takePicture(picture),
      error: (error) => this.#failed(error),
    });
    this.#video.configure({ codec, optimizeForLatency: true });
    this.#codec = codec;
  }

  #takePicture(picture) {
    const index = this.#inVideo.findIndex((frame) => frame.frameIndex * 1000 === picture.timestamp);
    if (index < 0) {
      picture.close(); // of before a reset
      return;
    }
    const [frame] = this.#inVideo.splice(index, 1);
    // A copy, because a decoder owns few pictures and stops when a buffer holds on to them.
    const bitmap = this.#scope.createImageBitmap(picture).finally(() => picture.close());
    this.#emit(frame, bitmap);
  }

  #emit(frame, bitmap) {
    bitmap.catch(() => {}); // told below, in its turn
    this.#order = this.#order.then(async () => {
      try {
        const picture = await bitmap;
        this.#numPending -= 1;
        if (this.#isClosed || frame.isRepeat) picture.close();
        else this.#onPicture(frame, picture);
      } catch (error) {
        this.#numPending -= 1;
        this.#failed(error);
      }
    });
  }

  #failed(error) {
    if (this.#isClosed || error.name === "AbortError") return; // a flush that a reset cut short
    this.#numPending -= this.#inVideo.length;
    this.#inVideo = [];
    this.#codec = "";
    this.#video = null;
    this.#onError(new SessionError("bad_message", `Frames cannot be decoded: ${error.message}`));
  }
}
