/**
 * The WebSocket protocol, version 1, as a browser needs it: names, limits, errors, frame header.
 *
 * It mirrors services/contract.py and services/protocol.py, and a test holds it to them. It knows
 * no socket, no page and no session's state.
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "worldloom.v1";
export const SESSION_PATH = "/v1/session";
export const TOKEN_PATH = "/v1/token";
export const WORLDS_PATH = "/v1/worlds";

export const NUM_KEYS = 6;
export const NUM_MOUSE_AXES = 2;
export const MAX_IMAGE_BYTES = 2 * 1024 * 1024; // of the encoded image, before base64
export const MAX_PROMPT_LENGTH = 2000;

export const HEADER_BYTES = 24;
export const KIND_JPEG = 0;
export const KIND_H264_KEY = 1;
export const KIND_H264_DELTA = 2;

/** Codes whose request may succeed later. */
export const RETRYABLE = new Set([
  "no_free_slot",
  "too_many_actions",
  "shutting_down",
  "quota_exceeded",
  "rate_limited",
  "queue_full",
  "queue_timeout",
  "no_backend",
  "disconnected",
  "timeout",
]);

/** What a WebSocket that closed without a word means, by its close code. */
const CODE_OF_CLOSE = new Map([
  [4400, "bad_message"],
  [4401, "bad_token"],
  [4404, "unknown_session"],
  [4413, "too_large"],
  [4429, "rate_limited"],
  [4500, "internal"],
  [4503, "no_backend"],
]);

/** A request that was refused, or a session that is over for a reason nobody asked for. */
export class SessionError extends Error {
  /**
   * @param {string} code one of the contract's codes
   * @param {string} message one sentence for a person
   * @param {boolean} isRetryable whether the same request may succeed later
   */
  constructor(code, message, isRetryable = RETRYABLE.has(code)) {
    super(message);
    this.name = "SessionError";
    this.code = code;
    this.isRetryable = isRetryable;
  }

  /** The error of a WebSocket that the gateway closed with a code of its own, or null. */
  static ofClose(closeCode, reason) {
    const code = CODE_OF_CLOSE.get(closeCode);
    if (code === undefined) return null;
    return new SessionError(code, reason || `The gateway closed the connection (${closeCode}).`);
  }
}

/**
 * Split a binary message into its header and the encoded frame, which is not copied.
 *
 * @param {ArrayBuffer} buffer
 */
export function parseFrame(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getUint8(0) !== PROTOCOL_VERSION) {
    const begins = buffer.byteLength ? `begin with ${view.getUint8(0)}` : "hold nothing";
    throw new SessionError(
      "bad_message",
      `${buffer.byteLength} bytes that ${begins}, expected a frame behind a header of` +
        ` ${HEADER_BYTES} bytes of version ${PROTOCOL_VERSION}`,
    );
  }
  return {
    kind: view.getUint8(1),
    segmentIndex: view.getUint32(4, true),
    frameIndex: view.getUint32(8, true),
    actionIndex: view.getInt32(12, true),
    sentAtMs: view.getFloat64(16, true),
    data: new Uint8Array(buffer, HEADER_BYTES),
  };
}
