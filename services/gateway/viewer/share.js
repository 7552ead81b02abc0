/**
 * A walk as a link: the world, the seed and the prompt in the part of the address after "#".
 *
 * The same world, seed and actions give the same frames. It knows no page.
 */

export const MAX_SEED = Number.MAX_SAFE_INTEGER;
const SHORT_SEEDS = 1_000_000; // enough places to go, short enough to say aloud

/** Return a seed that a person can say. */
export function newSeed(random = Math.random) {
  return Math.floor(random() * SHORT_SEEDS);
}

/** Return a seed from what was typed, or null for what is none. */
export function parseSeed(text) {
  const trimmed = text.trim();
  if (!/^\d+$/.test(trimmed)) return null;
  const seed = Number(trimmed);
  return seed <= MAX_SEED ? seed : null;
}

/** Return `{ world, seed, prompt }` of a link's hash, each null where it says nothing of use. */
export function parseHash(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    world: fields.get("world") || null,
    seed: parseSeed(fields.get("seed") ?? ""),
    prompt: fields.get("prompt") || null,
  };
}

/** Return the hash of a walk. */
export function formatHash({ world, seed, prompt }) {
  const fields = new URLSearchParams();
  if (world) fields.set("world", world);
  fields.set("seed", String(seed));
  if (prompt) fields.set("prompt", prompt);
  return `#${fields}`;
}

/** Return a name for a file of this walk, without what file systems do not like. */
export function fileName({ world, seed }, suffix) {
  const place = (world || "own-picture").toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return `worldloom-${place}-${seed}.${suffix}`;
}
