/**
 * A film of the walk: every frame that was shown, drawn large enough to be looked at elsewhere.
 *
 * It knows a picture and MediaRecorder, and no session.
 */

const SHORT_SIDE = 512; // small frames are scaled up to about this, by a whole number
const BITS_PER_SECOND = 8_000_000;
const KINDS = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp9", "video/webm;codecs=vp8"];

/** Return the kind of film that this browser can make, or null for none. */
export function filmKind(scope = globalThis) {
  if (typeof scope.MediaRecorder !== "function") return null;
  return KINDS.find((kind) => scope.MediaRecorder.isTypeSupported(kind)) ?? null;
}

export class Recorder {
  #canvas = document.createElement("canvas");
  #context;
  #track;
  #recorder;
  #parts = [];
  #kind = filmKind();

  constructor(width, height, { isSmooth }) {
    const scale = Math.max(1, Math.round(SHORT_SIDE / Math.min(width, height)));
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    this.#context = this.#canvas.getContext("2d", { alpha: false });
    this.#context.imageSmoothingEnabled = isSmooth;
    this.#context.imageSmoothingQuality = "high";
    const stream = this.#canvas.captureStream(0); // a frame of film for each `add`, and no other
    [this.#track] = stream.getVideoTracks();
    this.#recorder = new MediaRecorder(stream, {
      mimeType: this.#kind,
      videoBitsPerSecond: BITS_PER_SECOND,
    });
    this.#recorder.ondataavailable = ({ data }) => this.#parts.push(data);
    this.#recorder.start(1000);
  }

  /** Append what is drawn on a canvas or in a bitmap. */
  add(picture) {
    this.#context.drawImage(picture, 0, 0, this.#canvas.width, this.#canvas.height);
    this.#track.requestFrame();
  }

  /** Finish; returns the film and the suffix of its file's name. */
  async stop() {
    const stopped = new Promise((resolve) => (this.#recorder.onstop = resolve));
    this.#recorder.stop();
    await stopped;
    this.#track.stop();
    const [type] = this.#kind.split(";");
    return { film: new Blob(this.#parts, { type }), suffix: type.split("/")[1] };
  }
}

/** Let the browser save a file. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // a download begins later than a click
}
