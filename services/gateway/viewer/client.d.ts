/** Types of the JavaScript client; what each thing does is said in the modules. */

export type SessionState =
  | "new"
  | "queued"
  | "opening"
  | "active"
  | "paused"
  | "dropped"
  | "resuming"
  | "closing"
  | "ended";

export type Encoding = "jpeg" | "h264";

/** W, S, A, D and two unused keys, 0 or 1 each. */
export type KeyRow = [number, number, number, number, number, number];
/** Pitch and yaw rate in mouse units (15 degrees a frame), -12 to 12. */
export type MouseRow = [number, number];

export interface SessionOptions {
  /** Address of the gateway, http(s) or ws(s). */
  url: string | URL;
  /** Token of POST /v1/token; or a function that gets one when it is needed. */
  token?: string;
  getToken?: () => Promise<string | undefined>;
  /** Name of a world of the release; by default the first. */
  world?: string;
  /** Start image of one's own: base64 of a JPEG or PNG. */
  image?: string;
  prompt?: string;
  /** Seed of the noise, default 0: same seed and actions, same frames. */
  seed?: number;
  /** Whether earlier frames of the same place are looked up, default true. */
  enableMemory?: boolean;
  encoding?: Encoding;
  /** keep (default): a slow client slows its own world; drop: late frames are left out. */
  lateFrames?: "keep" | "drop";
  /** Digest or version of a release; by default by traffic share. */
  release?: string;
  /** W3C trace context. */
  traceparent?: string;
  /** Whether segments are acknowledged as soon as they came, default true. */
  acknowledges?: boolean;
  /** Longest wait for a connection, seconds, default 30. */
  openSeconds?: number;
  /** Time after which a broken connection is given up, seconds, default 60. */
  reconnectSeconds?: number;
  /** First and longest wait between two tries, seconds, defaults 0.25 and 2. */
  firstRetrySeconds?: number;
  longestRetrySeconds?: number;
  /** From ping to ping, and longest wait for an answer, seconds, defaults 2 and 10. */
  pingSeconds?: number;
  silenceSeconds?: number;
}

/** The `ready` message of services/protocol.py. */
export interface Ready {
  session_id: string;
  resume_token: string;
  release: string;
  model_version: string;
  world: string;
  prompt: string;
  seed: number;
  height: number;
  width: number;
  frames_per_segment: number;
  frames_per_second: number;
  max_unacknowledged_segments: number;
  max_actions_per_message: number;
  encoding: Encoding;
  next_action_index: number;
  next_segment_index: number;
  is_resumed: boolean;
  is_paused: boolean;
  max_idle_seconds: number;
  max_session_seconds: number;
}

export interface Segment {
  segment_index: number;
  first_frame_index: number;
  first_action_index: number;
  num_frames: number;
  num_dropped: number;
  waited_seconds: number;
  segment_seconds: number;
  action_to_frame_seconds: number;
  durable_frame_index: number;
}

export interface Frame {
  /** 0 JPEG, 1 H.264 that stands alone, 2 H.264 that does not. */
  kind: 0 | 1 | 2;
  segmentIndex: number;
  /** 0 is the start image. */
  frameIndex: number;
  /** The action that led here, -1 for the start image. */
  actionIndex: number;
  /** The gateway's clock as it was sent, milliseconds since 1970. */
  sentAtMs: number;
  data: Uint8Array;
  /** H.264 alone: it was handed on before, and a decoder needs it once more. */
  isRepeat: boolean;
}

export interface SessionEvents {
  state: { state: SessionState; before: SessionState };
  queued: { position: number; length: number };
  ready: Ready;
  segment: Segment;
  frame: Frame;
  receipt: { action_index: number; num_actions: number; num_queued_actions: number };
  snapshot: { frame_index: number };
  notice: { kind: "idle" | "session_limit" | "draining" | "backend_lost"; seconds: number };
  reconnecting: { attempt: number; seconds: number; error: SessionError };
  /** A message was refused; the session goes on. */
  error: SessionError;
  ended: { reason: string; error: SessionError | null; numFrames: number };
}

export class SessionError extends Error {
  constructor(code: string, message: string, isRetryable?: boolean);
  readonly code: string;
  readonly isRetryable: boolean;
}

export class Session {
  constructor(options: SessionOptions);
  readonly state: SessionState;
  readonly ready: Ready | null;
  readonly nextActionIndex: number;
  readonly lastAnnouncedFrameIndex: number;
  readonly figures: {
    roundTripSeconds: number | null;
    numReconnects: number;
    numBytes: number;
    numDropped: number;
  };
  on<T extends keyof SessionEvents>(
    type: T,
    listener: (event: SessionEvents[T]) => void,
  ): () => void;
  open(): Promise<Ready>;
  act(keyboard: KeyRow[], mouse: MouseRow[]): number;
  acknowledge(segmentIndex: number): void;
  pause(): void;
  continue(): void;
  snapshot(): void;
  close(options?: { finishQueue?: boolean }): void;
  fail(error: SessionError): void;
  changeEncoding(encoding: Encoding): void;
  actionFile(): string;
}

export interface World {
  name: string;
  prompt: string;
  /** Address of its start image, where the gateway knows one. */
  image?: string | null;
}

export interface Release {
  release: string;
  model_version: string;
  /** Its weight among new sessions. */
  share: number;
  height: number;
  width: number;
  frames_per_segment: number;
  frames_per_second: number;
  encodings: Encoding[];
  worlds: World[];
}

/** For servers and local use: a product's page gets its token from the product's own server. */
export function fetchToken(
  baseUrl: string | URL,
  apiKey?: string | null,
  fetcher?: typeof fetch,
): Promise<string>;

export function fetchWorlds(
  baseUrl: string | URL,
  fetcher?: typeof fetch,
): Promise<{ is_fake: boolean; releases: Release[] }>;
