/**
 * What a person who cannot see well, or uses no mouse, would stumble over on the page as it is now.
 *
 * Run in the page; returns a list of sentences, empty when all is well. Text over a picture is
 * measured against the darkest and the brightest picture there could be.
 */
() => {
  const faults = [];
  const isShown = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const describe = (element) =>
    `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""} "${element.textContent.trim().slice(0, 40)}"`;

  // -- every control has a name, and is large enough for a finger

  const nameOf = (control) => {
    const labelled = control.getAttribute("aria-labelledby")?.split(" ") ?? [];
    const named = labelled.map((id) => document.getElementById(id)?.textContent).join(" ");
    const labels = [...(control.labels ?? [])].map((label) => label.textContent).join(" ");
    return (named || control.getAttribute("aria-label") || labels || control.textContent).trim();
  };
  const controls = document.querySelectorAll("button, input, select, textarea, a, [tabindex='0'], dialog[open]");
  for (const control of [...controls].filter(isShown)) {
    if (!nameOf(control)) faults.push(`${describe(control)} has no name`);
    const { width, height } = control.getBoundingClientRect();
    if (control.matches("button") && (width < 40 || height < 40)) {
      faults.push(`${describe(control)} is ${Math.round(width)} x ${Math.round(height)} pixels`);
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of ids) {
    if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`two elements are called ${id}`);
  }
  if (!document.documentElement.lang) faults.push("the page says no language");

  // -- text stands out by at least 4.5 to 1

  const probe = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = probe.getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
    return (bright + 0.05) / (dark + 0.05);
  };
  const screen = document.getElementById("screen");
  const grounds = (element) => {
    const layers = [];
    let isOverPicture = false;
    for (let at = element; at; at = at.parentElement) {
      layers.unshift(rgba(getComputedStyle(at).backgroundColor));
      isOverPicture ||= at.classList.contains("frame");
      if (layers[0][3] === 1) break;
    }
    const page = rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    const paint = (ground) => layers.reduce((under, layer) => over(layer, under), ground);
    if (!isOverPicture) return [paint(page)];
    const opacity = Number(getComputedStyle(screen).opacity);
    const well = rgba(getComputedStyle(screen.closest(".frame")).backgroundColor).slice(0, 3);
    return [0, 255].map((value) => {
      const picture = over([value, value, value, opacity], well);
      return layers.slice(1).reduce((under, layer) => over(layer, under), picture);
    });
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !isShown(element)) continue;
    if (element.closest("noscript, script, option, [disabled]")) continue;
    const colour = rgba(getComputedStyle(element).color);
    for (const ground of grounds(element)) {
      const ratio = contrast(over(colour, ground), ground);
      if (ratio < 4.5) faults.push(`${describe(element)} stands out by ${ratio.toFixed(2)} to 1`);
    }
  }
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) faults.push(`the page is ${width} pixels wide on a screen of ${innerWidth}`);
  return faults;
}
