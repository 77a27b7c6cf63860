// The error viewer. Without it the page is whole: this adds, and hides nothing but what is filtered.
// It is one function in four files; this one reads the data and knows what is looked at.
const one = (query, root = document) => root.querySelector(query);
const all = (query, root = document) => [...root.querySelectorAll(query)];
const SVG = "http://www.w3.org/2000/svg";
const LAYERS = ["image", "gt", "dt", "errors"];

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(plain).text());
}
function make(tag, attributes = {}, ...inside) {
  const svg = ["svg", "g", "path", "image", "circle", "text"].includes(tag);
  const made = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}
// AP^e as it is printed: the e raised.
const marked = text => text.split("^e").flatMap((part, k) => k ? [make("sup", {}, "e"), part] : [part]);
const percent = value => value == null ? "-" : (100 * value).toFixed(1);
const hue = k => `hsl(${(k * 137.508 + 20) % 360} 85% 60%)`;

const index = await unpack(one("#index").textContent);
const lines = one("#lines").textContent.trim().split("\n");
const { kinds, sizes, thrs, files, ids, names, ap, errors } = index;
const kindAt = name => kinds.findIndex(kind => kind[0] === name);
const dialog = one("#viewer"), stage = one("#stage"), told = one("#told"), masks = one("#masks");
const form = one("#filters"), list = one("#list"), body = one("tbody", list);
const rows = all("tr", body);
// What is looked at: an image, among which others and why; a kind of error, and the position of the
// IoU threshold at which errors are told; layers; what of the image is in sight.
const state = { idx: -1, order: [], why: "", kind: "", thr: 0, layers: new Set(["image", "errors"]),
  box: [0, 0, 1, 1], size: [1, 1], panes: [] };
const source = pixels => /^[\w%.~-]+\/\d+\.webp$/.test(pixels) ? pixels
  : "data:image/webp;base64," + pixels;
function errorsAt(k) {
  state.thr = k;
  for (const choice of all("select[name=thr]")) choice.value = k;
}

async function show(idx, { order, why, kind, keep } = {}) {
  const [packed, pixels] = lines[idx].split(" ");
  const record = await unpack(packed);
  state.idx = idx;
  if (order) [state.order, state.why, state.kind] = [order, why, kind ?? ""];
  const at = state.order.indexOf(idx);
  one("#viewer-title").textContent = `image ${ids[idx]}, ${names[idx]}`;
  one("#viewer-place").textContent = at < 0 ? ""
    : `${(at + 1).toLocaleString("en")} of ${state.order.length.toLocaleString("en")} ${state.why}`;
  if (!dialog.open) dialog.showModal();
  draw(record, pixels);
  if (!keep) state.box = [0, 0, ...state.size];
  // Who looks for a kind of error, or goes through the masks, finds the first one lit.
  const within = kind || masks.contains(document.activeElement);
  refresh();
  if (within) one("button", masks)?.focus({ preventScroll: true });
}
function step(by) {
  const n = state.order.length;
  if (n) show(state.order[(state.order.indexOf(state.idx) + by + n) % n]);
}
