/**
 * How a session begins: its options, and the first message of a connection.
 *
 * It knows the form of these messages, and no socket and no state.
 */

import { PROTOCOL_VERSION } from "./protocol.js";

/** What a session does where its options say nothing; `client.d.ts` says what each means. */
export const DEFAULTS = {
  seed: 0,
  enableMemory: true,
  encoding: "jpeg",
  lateFrames: "keep",
  acknowledges: true,
  openSeconds: 30,
  reconnectSeconds: 60,
  firstRetrySeconds: 0.25,
  longestRetrySeconds: 2,
  pingSeconds: 2,
  silenceSeconds: 10,
};

/** Return the message that asks for a new session. */
export function openMessage(options, encoding, token) {
  const { world, image, prompt, seed, enableMemory, lateFrames, release, traceparent } = options;
  return {
    type: "open",
    version: PROTOCOL_VERSION,
    token,
    world,
    image,
    prompt,
    seed,
    enable_memory: enableMemory,
    encoding,
    late_frames: lateFrames,
    release,
    traceparent,
  };
}

/** Return the message that goes on with a session behind a frame. */
export function resumeMessage(resumeToken, lastFrameIndex, encoding) {
  return {
    type: "resume",
    version: PROTOCOL_VERSION,
    resume_token: resumeToken,
    last_frame_index: lastFrameIndex,
    encoding,
  };
}
