/**
 * What a person is told: states, refusals, endings and notices in plain words.
 *
 * Every code of services/contract.py has its sentence here, and a test counts them. It knows no
 * page.
 */

/** Short names of the states, as shown beside the picture. */
export const STATE_NAMES = {
  new: "Connecting",
  queued: "In the queue",
  opening: "Opening",
  active: "Walking",
  paused: "Paused",
  dropped: "Connection lost",
  resuming: "Coming back",
  closing: "Leaving",
  ended: "Over",
};

/** Title and sentence of each code; the server's own sentence is shown beside the code. */
export const CODE_SENTENCES = {
  bad_message: ["That did not work", "The page and the server do not understand each other."],
  bad_tensor: ["That did not work", "The server could not read what this page sent."],
  unknown_world: ["No such place", "This world is not in the release that is served now."],
  unknown_session: ["The walk is gone", "The server no longer has it. Begin it again: same seed, same world."],
  unknown_release: ["The model has changed", "The release that this walk began with is no longer served."],
  session_exists: ["That did not work", "This walk is open somewhere else already."],
  wrong_state: ["That did not work", "This cannot be done right now."],
  no_free_slot: ["All places are taken", "Every place on this server is in use. Try again in a moment."],
  too_many_actions: ["Slow down a little", "More steps are waiting than the server takes."],
  shutting_down: ["The server is going down", "It finishes what is running. Try again in a minute."],
  generation_failed: ["The model stumbled", "The next part of this world could not be made."],
  state_lost: ["The walk is lost", "The server has lost where you stood. Begin it again: same seed, same world."],
  unsupported_version: ["This page is too old", "The server speaks another version. Reload the page."],
  too_large: ["Too large", "The picture is larger than this server takes."],
  bad_image: ["Not a picture", "The server could not read this picture. Take a JPEG or PNG."],
  content_refused: ["Not this one", "The server does not open a world from this picture or text."],
  bad_key: ["The key is not right", "This server does not know that API key."],
  bad_token: ["No entry", "The server did not accept this page's pass."],
  expired_token: ["The pass ran out", "It took too long to get in. Try again."],
  replayed_token: ["Open elsewhere", "This walk goes on in another window, or its pass was used before."],
  quota_exceeded: ["Your share is used up", "This key has as many walks, or as much time, as it may have."],
  rate_limited: ["Too fast", "The server asks this page to wait a moment."],
  queue_full: ["The queue is full", "Too many people are waiting already. Try again in a few minutes."],
  queue_timeout: ["No place came free", "The wait took too long. Try again."],
  no_backend: ["No model is running", "The server has nothing to show a world with right now."],
  internal: ["Something broke", "The server made a mistake. It has been noted."],
  session_ended: ["The walk is over", "The server has ended it."],
  disconnected: ["The connection is gone", "The server could not be reached for a while."],
  timeout: ["No answer", "The server did not answer in time."],
};

/** Title and sentence of each way in which a session ends without an error. */
export const ENDINGS = {
  finished: ["The walk is over", "You have come to its end."],
  stopped: ["The walk is over", "Thank you for walking."],
  idle: ["The walk fell asleep", "Nothing happened for a while, so its place went to somebody else."],
  too_long: ["Time is up", "This walk has lasted as long as one may."],
  cancelled: ["The walk was ended", "The server has ended it."],
  failed: ["The model stumbled", "The next part of this world could not be made."],
  shutdown: ["The server is going down", "Try again in a minute."],
  taken_over: ["Open elsewhere", "This walk goes on in another window."],
};

/** Return title and sentence of an ending: an error, or the reason of an `ended`. */
export function endingWords({ error, reason }) {
  const pair = error ? CODE_SENTENCES[error.code] : ENDINGS[reason];
  const [title, words] = pair ?? ["The walk is over", "The server has ended it."];
  return { title, words };
}

/** Return the sentence of a `notice`. */
export function noticeWords({ kind, seconds }) {
  const time = duration(seconds);
  const sentences = {
    idle: `Move, or this walk ends in ${time}.`,
    session_limit: `This walk may last ${time} longer.`,
    draining: "A new model is taking over. Your walk goes on with the old one.",
    backend_lost: "The model was restarted. Your walk comes back in a moment.",
  };
  return sentences[kind] ?? "";
}

/** Return where somebody stands in the queue. */
export function queueWords({ position, length }) {
  if (position <= 1) return ["You are next", "A place opens as soon as somebody leaves."];
  const others = length > position ? `, ${length - position} behind you` : "";
  return [`Number ${position} in the queue`, `${position - 1} ahead of you${others}.`];
}

/** Return a length of time in words. */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 100) return whole === 1 ? "1 second" : `${whole} seconds`;
  return `${Math.round(whole / 60)} minutes`;
}
