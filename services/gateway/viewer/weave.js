/**
 * A piece of cloth for a world whose picture is not known: the same name, the same weave.
 *
 * It knows a name and a canvas.
 */

const THREADS = 26;
const COLOURS = ["#262f78", "#4257a8", "#8c97c9", "#c9cfe8", "#f3b546", "#a65b00", "#17703f", "#6d2b52"];

/** Return a canvas with the cloth of a name. */
export function weave(name) {
  const canvas = document.createElement("canvas");
  canvas.width = THREADS * 9;
  canvas.height = THREADS * 6;
  const context = canvas.getContext("2d", { alpha: false });
  const next = numbersOf(name);
  const warp = COLOURS[next() % 3];
  const weft = Array.from({ length: 4 }, () => COLOURS[next() % COLOURS.length]);
  const shift = 1 + (next() % 3);
  const [width, height] = [canvas.width / THREADS / 1.5, canvas.height / THREADS];
  for (let row = 0; row < THREADS; row += 1) {
    for (let column = 0; column < THREADS * 1.5; column += 1) {
      const isOver = (column + row * shift) % 4 < 2;
      context.fillStyle = isOver ? warp : weft[Math.floor(row / 3) % weft.length];
      context.fillRect(column * width, row * height, width - 0.6, height - 0.6);
    }
  }
  return canvas;
}

/** Numbers that hang on a text alone (FNV-1a, then a linear congruence). */
function numbersOf(text) {
  let state = 0x811c9dc5;
  for (const character of text) {
    state = Math.imul(state ^ character.codePointAt(0), 0x01000193) >>> 0;
  }
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
}
