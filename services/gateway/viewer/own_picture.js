/**
 * A start image of one's own: read, made small enough, and written as the protocol wants it.
 *
 * Drawing it anew also leaves out what a camera wrote beside it, such as where it was taken. It
 * knows files and canvases, and no session.
 */

import { MAX_IMAGE_BYTES, SessionError } from "./protocol.js";

const LONGEST_SIDE = 1280;
const MAX_FILE_BYTES = 50 * 1024 * 1024;
const QUALITIES = [0.92, 0.8, 0.6];

/** Return `{ canvas, base64 }` of an image file. */
export async function readPicture(file) {
  if (file.size > MAX_FILE_BYTES) {
    throw new SessionError("too_large", `${file.name} has ${file.size} bytes, expected at most ${MAX_FILE_BYTES}`);
  }
  const canvas = draw(await decode(file));
  for (const quality of QUALITIES) {
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
    if (blob && blob.size <= MAX_IMAGE_BYTES) return { canvas, base64: await toBase64(blob) };
  }
  throw new SessionError("too_large", `${file.name} does not fit into ${MAX_IMAGE_BYTES} bytes`);
}

async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch (error) {
    if (error.name !== "InvalidStateError" && error.name !== "EncodingError") throw error;
    throw new SessionError("bad_image", `${file.name} is not a picture that this browser can read`);
  }
}

function draw(bitmap) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

async function toBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}
