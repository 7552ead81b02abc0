/**
 * The page: choose a world, walk in it, keep what was seen.
 *
 * It joins the chooser, the session and the walk's page, and says in words what happens. It knows
 * them all and none knows it; what can be tested without a page is in them.
 */

import { getToken } from "./api_key.js";
import { Chooser } from "./chooser.js";
import { Session, fetchWorlds } from "./client.js";
import { Controls } from "./controls.js";
import { chooseEncoding } from "./decoder.js";
import { Input } from "./input.js";
import { Recorder, download, filmKind } from "./recorder.js";
import { CODE_SENTENCES, endingWords, noticeWords, queueWords } from "./sentences.js";
import { fileName, formatHash, parseHash } from "./share.js";
import { Walk } from "./walk.js";
import { WalkView } from "./walk_view.js";

const FIGURES_MS = 250;
const LOOK_AGAIN_MS = 1500;
const UNNOTICED_MS = 600; // what is mended within this is not worth a word over the picture
const CRISP_ITEM = "worldloom crisp";

const byId = (id) => document.getElementById(id);
const view = new WalkView();
const chooser = new Chooser((choice) => begin(choice));
let served = null; // the release that walks begin in, once it is known
let current = null; // the walk under way: choice, session, walk, input, recorder

// -- what is served

/** Show what is served; while nothing is, look again until something is. */
async function loadWorlds() {
  let answer;
  try {
    answer = await fetchWorlds(location.href);
  } catch (error) {
    chooser.say(sentenceOf(error));
    setTimeout(loadWorlds, LOOK_AGAIN_MS);
    return;
  }
  const [release] = answer.releases; // the one that most new walks get
  if (!release) {
    chooser.say(`${sentenceOf({ code: "no_backend" })} This page looks again by itself.`);
    setTimeout(loadWorlds, LOOK_AGAIN_MS);
    return;
  }
  if (release.release === served?.release && release.model_version === served.model_version) return;
  served = release;
  byId("served").textContent = servedWords(answer.is_fake, release);
  chooser.say("");
  chooser.show(served.worlds, parseHash(location.hash));
}

function servedWords(isFake, { model_version: version, width, height }) {
  const name = isFake ? "Fake engine, no model" : version ? `Model ${version}` : "Model";
  return `${name} \u00b7 ${width} \u00d7 ${height}`;
}

function sentenceOf(error) {
  const [title, words] = CODE_SENTENCES[error.code] ?? CODE_SENTENCES.disconnected;
  return `${title}. ${words}`;
}

// -- a walk

async function begin(choice) {
  end();
  byId("choose").hidden = true;
  byId("walk").hidden = false;
  byId("walk-title").focus();
  document.title = `${choice.title} \u00b7 Worldloom`;
  history.replaceState(null, "", choice.world ? formatHash(choice) : location.pathname);
  view.open(choice);

  const session = new Session({
    url: location.href,
    getToken,
    world: choice.world,
    image: choice.image,
    prompt: choice.prompt,
    seed: choice.seed,
    encoding: await chooseEncoding(served),
    lateFrames: "drop",
  });
  const controls = new Controls();
  const input = new Input({ controls, stage: view.stage, stick: view.stick });
  const walk = new Walk({
    session,
    controls,
    onShow: show,
    onRest: (isResting) => view.toast(isResting ? "Standing still until you move." : "Walking on."),
  });
  current = { choice, session, walk, input, recorder: null, recordedSince: 0 };
  listen(session);
  setTimeout(() => showOpening(session), UNNOTICED_MS);
  requestAnimationFrame(tick);
  // What goes wrong is told by `ended`, wherever it happens.
  session.open().catch(() => {});
}

function listen(session) {
  const on = (type, listener) =>
    session.on(type, (detail) => current?.session === session && listener(detail));
  on("state", ({ state, before }) => changeState(state, before));
  on("queued", (queued) => {
    current.queued = queued;
    const [title, words] = queueWords(queued);
    veilWaiting(title, words, [{ label: "Leave the queue", onClick: leave }]);
  });
  on("reconnecting", (retry) => {
    current.retry = retry;
    if (retry.attempt === 1) setTimeout(() => showReconnecting(session), UNNOTICED_MS);
    else showReconnecting(session);
  });
  on("notice", (notice) => view.toast(noticeWords(notice)));
  on("error", (error) => {
    current.lastError = error;
    view.toast(sentenceOf(error));
    if (session.state === "active") current.walk.go(); // a pause that was refused
  });
  on("ended", (ending) => showEnding(ending));
}

function changeState(state, before) {
  view.setState(state);
  view.showPaused(state === "paused");
  if (state === "active") {
    current.walk.go();
    view.unveil();
  } else if (state === "paused") {
    view.veil({
      title: "Paused",
      words: "The world waits for you.",
      actions: [{ label: "Go on", onClick: togglePause, isMain: true }],
    });
  } else if (state === "opening" && before === "queued") {
    veilWaiting("Opening the world", "A place came free.");
  }
}

function showOpening(session) {
  if (current?.session !== session || !["new", "opening"].includes(session.state)) return;
  veilWaiting("Opening the world", "The first picture is on its way.");
}

function showReconnecting(session) {
  const isAway = session.state === "dropped" || session.state === "resuming";
  if (current?.session !== session || !isAway) return;
  const tries = current.retry.attempt > 1 ? ` Try number ${current.retry.attempt}.` : "";
  const words = `Your walk is kept where you stand.${tries}`;
  veilWaiting("Reconnecting", words, [{ label: "Leave", onClick: leave }]);
}

function veilWaiting(title, words, actions = []) {
  view.veil({ title, words, isWaiting: true, actions });
}

function showEnding({ error: ownError, reason }) {
  const { choice, lastError } = current;
  // Why a session failed was told before its end.
  const error = ownError ?? (reason === "failed" ? lastError : null);
  const { title, words } = endingWords({ error, reason });
  const again = { label: "Walk again", onClick: () => begin(choice), isMain: true };
  if (ownError?.isRetryable) again.label = "Try again";
  stopRecording();
  current.input.stop();
  view.setState("ended");
  view.veil({
    title,
    words,
    code: error ? `${error.code}: ${error.message}` : "",
    actions: [again, { label: "Choose another place", onClick: leave }],
  });
}

function show(picture, { frameIndex }, action) {
  view.paint(picture, frameIndex);
  current.recorder?.add(view.screen);
  if (action === null) return;
  const { keyboard, mouse } = action;
  const effort = Math.min(1, 0.5 * Math.max(...keyboard) + Math.hypot(...mouse));
  view.loom.add(effort);
  if (effort > 0) view.dismissCoach();
}

function tick(now) {
  if (!current || current.session.state === "ended") return;
  requestAnimationFrame(tick);
  current.input.pollGamepad(now);
  current.walk.tick(now);
  if (now - (current.figuresAt ?? -Infinity) < FIGURES_MS) return;
  current.figuresAt = now;
  showFigures(now);
}

function showFigures(now) {
  const { walk, session, queued, recorder, recordedSince } = current;
  const figures = walk.figures;
  const milliseconds = (seconds) => (seconds === null ? "\u2013" : `${Math.round(seconds * 1000)} ms`);
  const isQueued = session.state === "queued";
  view.showFigures([
    ["Frames a second", String(walk.framesPerSecond(now))],
    ["Action to frame", milliseconds(figures.actionToFrameSeconds)],
    ["Round trip", milliseconds(figures.roundTripSeconds)],
    ["Buffer", `${figures.numBuffered} + ${figures.numAsked}`],
    ["Dropped", String(figures.numDropped)],
    ["Stalls", String(figures.numStalls)],
    ["Queue", isQueued ? `${queued.position} of ${queued.length}` : "\u2013"],
    ["Model", session.ready ? session.ready.model_version || shortDigest(session.ready.release) : "\u2013"],
    ["Picture", figures.decoder || "\u2013"],
  ]);
  view.loom.draw(figures);
  if (recorder) view.showRecording((now - recordedSince) / 1000);
}

function shortDigest(release) {
  return release.replace(/^sha256:/, "").slice(0, 8) || "unnamed";
}

/** End what is under way without a word. */
function end() {
  if (!current) return;
  const ending = current;
  stopRecording();
  current = null;
  ending.input.stop();
  ending.session.close();
}

function leave() {
  end();
  view.unveil();
  if (document.fullscreenElement) document.exitFullscreen();
  byId("walk").hidden = true;
  byId("choose").hidden = false;
  document.title = "Worldloom";
  delete document.body.dataset.state;
  chooser.focus();
  loadWorlds(); // another release may have come while we walked
}

// -- tools

function togglePause() {
  const { session, walk } = current ?? {};
  if (session?.state === "active") {
    walk.hold(); // at once, whatever is still on its way
    session.pause();
  } else if (session?.state === "paused") {
    session.continue();
  }
}

function toggleRecording() {
  if (current?.recorder) {
    stopRecording();
  } else if (current?.session.ready) {
    const { width, height } = view.screen;
    current.recorder = new Recorder(width, height, { isSmooth: !isCrisp() });
    current.recorder.add(view.screen);
    current.recordedSince = performance.now();
    view.showRecording(0);
  }
}

async function stopRecording() {
  if (!current?.recorder) return;
  const { recorder, choice } = current;
  current.recorder = null;
  view.showRecording(null);
  const { film, suffix } = await recorder.stop();
  download(film, fileName(choice, suffix));
  view.toast("The film is in your downloads.");
}

function saveActions() {
  const { session, choice } = current;
  const file = new Blob([session.actionFile()], { type: "application/json" });
  const name = fileName(choice, "json");
  download(file, name);
  const world = choice.world ? ` --world ${choice.world}` : "";
  view.toast(`Replay it: worldloom play --actions ${name}${world} --seed ${choice.seed}`);
}

async function share() {
  const { choice } = current;
  if (choice.image) {
    view.toast("A picture of your own stays with you, so this walk has no link.");
    return;
  }
  const url = new URL(formatHash(choice), location.href).href;
  try {
    if (navigator.share && matchMedia("(pointer: coarse)").matches) {
      await navigator.share({ title: `${choice.title} \u00b7 Worldloom`, url });
    } else {
      await navigator.clipboard.writeText(url);
      view.toast("Link copied: same place, same seed.");
    }
  } catch (error) {
    if (error.name === "AbortError") return; // the person thought better of it
    view.toast(url); // no clipboard here, so it is shown to be copied by hand
  }
}

function isCrisp() {
  return localStorage.getItem(CRISP_ITEM) === "yes";
}

function toggleCrisp() {
  localStorage.setItem(CRISP_ITEM, isCrisp() ? "no" : "yes");
  view.showCrisp(isCrisp());
}

async function toggleWhole() {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await byId("walk").requestFullscreen();
}

byId("leave").addEventListener("click", leave);
byId("pause").addEventListener("click", togglePause);
byId("record").addEventListener("click", toggleRecording);
byId("save-actions").addEventListener("click", () => current && saveActions());
byId("share").addEventListener("click", () => current && share());
byId("crisp").addEventListener("click", toggleCrisp);
byId("whole").addEventListener("click", toggleWhole);
byId("record").hidden = filmKind() === null;
byId("whole").hidden = !document.fullscreenEnabled;
document.addEventListener("fullscreenchange", () =>
  byId("whole").setAttribute("aria-pressed", String(document.fullscreenElement !== null)),
);
byId("walk").addEventListener("keydown", (event) => {
  if (event.code === "KeyP" && !event.repeat && !event.ctrlKey && !event.metaKey) togglePause();
});
addEventListener("hashchange", () => {
  if (!current && served) chooser.show(served.worlds, parseHash(location.hash));
});
addEventListener("pagehide", end);
addEventListener("pageshow", (event) => event.persisted && leave()); // its walk ended as it was left

view.showCrisp(isCrisp());
loadWorlds();
