/**
 * The first page: worlds as cards, a picture of one's own, a prompt and a seed, made into a choice.
 *
 * It knows the form, and no session.
 */

import { readPicture } from "./own_picture.js";
import { SessionError } from "./protocol.js";
import { CODE_SENTENCES } from "./sentences.js";
import { newSeed, parseSeed } from "./share.js";
import { weave } from "./weave.js";

const OWN = "own picture"; // value of the card for a picture of one's own
const PLUS = "M12 6v12M6 12h12";

export class Chooser {
  #form = document.getElementById("choice");
  #worlds = document.getElementById("worlds");
  #seed = document.getElementById("seed");
  #prompt = document.getElementById("prompt");
  #fault = document.getElementById("seed-fault");
  #banner = document.getElementById("banner");
  #preview = document.getElementById("preview").getContext("2d");
  #known = [];
  #own = null;
  #ownCard = null;

  /** @param {(choice: object) => void} onChoice called when somebody begins a walk */
  constructor(onChoice) {
    this.#seed.value = String(newSeed());
    document.getElementById("new-seed").addEventListener("click", () => {
      this.#seed.value = String(newSeed());
      this.#checkSeed();
    });
    this.#seed.addEventListener("input", () => this.#checkSeed());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const choice = this.#choice();
      if (choice) onChoice(choice);
    });
    this.#form.addEventListener("dragover", (event) => event.preventDefault());
    this.#form.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#takeFile(event.dataTransfer.files[0]);
    });
    this.#form.addEventListener("change", () => this.#showChosen());
  }

  /** Show the worlds that are served, the chosen one marked. */
  show(worlds, wanted = {}) {
    this.#known = worlds;
    document.getElementById("begin").disabled = false;
    this.#ownCard = this.#makeOwnCard();
    this.#worlds.replaceChildren(...worlds.map(makeCard), this.#ownCard);
    const isThere = worlds.some(({ name }) => name === wanted.world);
    if (wanted.world && !isThere) {
      this.say(`The link leads to the world "${wanted.world}", which is not served here now.`);
    }
    const chosen = isThere ? wanted.world : (worlds[0]?.name ?? OWN);
    for (const input of this.#inputs()) input.checked = input.value === chosen;
    if (wanted.seed !== undefined && wanted.seed !== null) this.#seed.value = String(wanted.seed);
    if (wanted.prompt) this.#prompt.value = wanted.prompt;
    this.#showChosen();
  }

  /** Say something that went wrong; an empty sentence takes it back. */
  say(sentence) {
    this.#banner.hidden = !sentence;
    if (this.#banner.textContent !== sentence) this.#banner.textContent = sentence;
  }

  focus() {
    this.#inputs()
      .find((input) => input.checked)
      ?.focus();
  }

  #inputs() {
    return [...this.#worlds.querySelectorAll('input[type="radio"]')];
  }

  #choice() {
    this.say("");
    const seed = this.#checkSeed();
    if (seed === null) {
      this.#seed.focus();
      return null;
    }
    const chosen = this.#inputs().find((input) => input.checked)?.value;
    const prompt = this.#prompt.value.trim() || undefined;
    if (chosen !== OWN) {
      const { name, image } = this.#known.find((world) => world.name === chosen);
      return { world: name, title: name, seed, prompt, picture: image ?? null };
    }
    if (!this.#own) {
      this.say("Drop a picture on the page, or choose one, to begin in it.");
      this.#ownCard.querySelector('input[type="file"]').focus();
      return null;
    }
    const { base64, canvas } = this.#own;
    return { image: base64, title: "Your picture", seed, prompt, picture: canvas };
  }

  #checkSeed() {
    const seed = parseSeed(this.#seed.value);
    this.#fault.textContent = seed === null ? "A whole number, 0 or larger." : "";
    this.#seed.setAttribute("aria-invalid", String(seed === null));
    return seed;
  }

  async #showChosen() {
    const chosen = this.#inputs().find((input) => input.checked)?.value;
    const world = this.#known.find(({ name }) => name === chosen);
    this.#prompt.placeholder = world?.prompt ?? "What is to be seen here";
    const picture = world ? await pictureOf(world) : this.#own?.canvas;
    if (chosen !== this.#inputs().find((input) => input.checked)?.value) return;
    const { canvas } = this.#preview;
    canvas.width = picture?.width ?? 1; // which also clears it
    canvas.height = picture?.height ?? 1;
    if (picture) this.#preview.drawImage(picture, 0, 0);
  }

  #makeOwnCard() {
    const card = makeCard({ name: OWN, title: "Your own picture", prompt: "Drop a JPEG or PNG here" });
    card.classList.add("own");
    const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    icon.setAttribute("viewBox", "0 0 24 24");
    icon.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", PLUS);
    icon.append(path);
    card.querySelector(".picture").append(this.#own?.canvas ?? icon);
    const file = document.createElement("input");
    file.type = "file";
    file.accept = "image/*";
    file.setAttribute("aria-label", "Choose a picture of your own");
    file.addEventListener("change", () => this.#takeFile(file.files[0]));
    const holder = document.createElement("div"); // a label may hold but one control
    holder.className = "own-place";
    holder.append(card, file);
    // The radio's own click comes with the keyboard's arrows too; only a pointer asks for a file.
    card.querySelector(".picture").addEventListener("click", () => file.click());
    card.addEventListener("dragenter", () => card.classList.add("is-over"));
    card.addEventListener("dragleave", (event) => {
      if (!card.contains(event.relatedTarget)) card.classList.remove("is-over");
    });
    return holder;
  }

  async #takeFile(file) {
    this.#ownCard?.querySelector(".own").classList.remove("is-over");
    if (!file || !this.#ownCard) return;
    try {
      this.#own = await readPicture(file);
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      this.say(CODE_SENTENCES[error.code].join(". "));
      return;
    }
    this.say("");
    this.#ownCard.querySelector(".picture").replaceChildren(this.#own.canvas);
    this.#ownCard.querySelector(".about").textContent = file.name;
    this.#ownCard.querySelector('input[type="radio"]').checked = true;
    this.#showChosen();
  }
}

/** The picture of a world, or its cloth where the gateway has none. */
async function pictureOf({ name, image }) {
  if (!image) return weave(name);
  const picture = new Image();
  picture.src = image;
  await picture.decode();
  return picture;
}

function makeCard({ name, title = name, prompt, image }) {
  const card = document.createElement("label");
  card.className = "world";
  const input = document.createElement("input");
  input.type = "radio";
  input.name = "world";
  input.value = name;
  const picture = document.createElement("span");
  picture.className = "picture";
  if (image) {
    const img = document.createElement("img");
    img.src = image;
    img.alt = "";
    picture.append(img);
  } else if (name !== OWN) {
    picture.append(weave(name));
  }
  const caption = document.createElement("span");
  caption.className = "name";
  caption.textContent = title;
  const about = document.createElement("span");
  about.className = "about";
  about.textContent = prompt;
  card.append(input, picture, caption, about);
  return card;
}
