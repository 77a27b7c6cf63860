// Buttons, keys and addresses of the viewer.
const acts = { close: () => { dialog.close(); remember(); }, in: () => zoom(1.4), out: () => zoom(1 / 1.4), whole,
  before: () => step(-1), next: () => step(1) };
for (const button of all("[data-act]", dialog)) {
  button.addEventListener("click", acts[button.dataset.act]);
}
for (const button of all("[data-layer]", dialog)) {
  button.addEventListener("click", () => toggle(button.dataset.layer));
}
one("#viewer-kind").addEventListener("change", event => {
  state.kind = event.target.value;
  refresh();
});
function turnTo(k) {
  errorsAt(k);
  filter();
  show(state.idx, { keep: true });
}
one("#viewer-thr").addEventListener("change", event => turnTo(+event.target.value));
dialog.addEventListener("close", remember);
dialog.addEventListener("keydown", event => {
  if (event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const far = state.box[2] / 10;
  const arrows = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
  const keys = { "+": acts.in, "=": acts.in, "-": acts.out, 0: whole, ArrowLeft: acts.before,
    ArrowRight: acts.next, i: () => turnTo((state.thr + 1) % thrs.length) };
  LAYERS.forEach((layer, k) => { keys[k + 1] = () => toggle(layer); });
  const act = event.shiftKey && arrows[event.key] ? () => move(...arrows[event.key]) : keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
addEventListener("resize", () => dialog.open && arrange());

// ---- Addresses: #image=17&layer=errors&iou=.75&kind=merged
function address(idx, layers = state.layers, kind = state.kind) {
  const words = new URLSearchParams({ image: ids[idx] });
  words.set("layer", LAYERS.filter(layer => layers.has(layer)).join(","));
  if (state.thr) words.set("iou", thrs[state.thr]);
  if (kind) words.set("kind", kind);
  return "#" + words.toString().replaceAll("%2C", ",");
}
function remember() {
  // A page within a page has no address of its own.
  if (location.protocol === "about:") return;
  history.replaceState(null, "", dialog.open ? address(state.idx) : location.href.split("#")[0]);
}
function follow() {
  const words = new URLSearchParams(location.hash.slice(1));
  if (!words.has("image")) return;
  const idx = ids.indexOf(words.get("image"));
  if (idx < 0) return;
  const layers = (words.get("layer") ?? "image,errors").split(",").filter(one => LAYERS.includes(one));
  state.layers = new Set(layers.length === 1 ? ["image", ...layers] : layers);
  errorsAt(Math.max(thrs.indexOf(words.get("iou")), 0));
  filter();
  const kind = kindAt(words.get("kind")) < 0 ? "" : words.get("kind");
  show(idx, { ...fromList(), kind });
}
addEventListener("hashchange", follow);
follow();
