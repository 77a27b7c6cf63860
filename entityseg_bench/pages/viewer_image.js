// One image: its masks in layers, one pane for each file; zoom and pan move all panes together.
function place(svg, path) {
  // A point inside, near the middle: where the sign of an error stands.
  const { x, y, width, height } = path.getBBox(), point = svg.createSVGPoint();
  let best = [x + width / 2, y + height / 2], least = Infinity;
  for (let i = 1; i < 12; i++) for (let j = 1; j < 12; j++) {
    point.x = x + width * i / 12;
    point.y = y + height * j / 12;
    const far = Math.hypot(i - 6, j - 6);
    if (far < least && path.isPointInFill(point)) [best, least] = [[point.x, point.y], far];
  }
  return best;
}
function maskOf(kind, text, path, colour) {
  const group = make("g", { role: "img", "aria-label": text });
  const shape = make("path", { d: path });
  if (colour) { shape.setAttribute("fill", colour); shape.setAttribute("stroke", colour); }
  group.append(shape);
  if (kind >= 0) group.classList.add(kinds[kind][0]);
  group.addEventListener("pointerenter", () => tell(group, text));
  group.addEventListener("pointerleave", () => tell(null));
  return { group, shape, kind, text };
}
function tell(group, text = "") {
  all(".on", stage).forEach(other => other.classList.remove("on"));
  if (group) group.classList.add("on");
  told.textContent = text || "Point at a mask, or go to one by Tab: what it is stands here.";
}
function summary(f) {
  const own = kinds.map(([kind], k) => [errors[f].counts[state.thr][k][state.idx][0], kind])
    .filter(([n]) => n).map(([n, kind]) => `${n} ${kind}`);
  return `${files[f]}, at IoU ${thrs[state.thr]}: ${own.join(", ") || "no errors"}`;
}
function masksOf(record, f) {
  const made = { gt: [], dt: [], errors: [] }, own = record.files[f];
  const FOUND = kinds.length, what = [...kinds.map(kind => kind[0]), "found", "counts neither way"];
  const called = record.gt.map(([id, name]) => [id, name].filter(Boolean).join(", "));
  record.gt.forEach(([, , path], k) => {
    if (!path) return;
    const [digits, iou] = own.gt[k], kind = +digits[state.thr];
    const text = `entity ${called[k]}: ${what[kind]}, best IoU ${iou.toFixed(2)}`;
    made.gt.push(maskOf(-1, text, path, hue(k)));
    if (kind === 0) made.errors.push(maskOf(kind, text, path));
  });
  own.dt.forEach(([id, digits, score, iou, path, over], k) => {
    const kind = +digits[state.thr];
    const of = what[kind] === "merged" ? `: entities ${over.map(g => called[g]).join("; ")}` : "";
    const text = `prediction ${id}: score ${score}, IoU ${iou.toFixed(2)}, ${what[kind]}${of}`;
    made.dt.push(maskOf(-1, text, path, hue(k)));
    if (kind > 0 && kind < FOUND) made.errors.push(maskOf(kind, text, path));
  });
  return made;
}
function draw(record, pixels) {
  const [width, height] = state.size = record.size;
  stage.replaceChildren();
  state.panes = files.map((name, f) => {
    const svg = make("svg", { role: "group", "aria-label": `image ${ids[state.idx]}, ${name}` });
    if (pixels) {
      svg.append(make("image", { href: source(pixels), width, height, preserveAspectRatio: "none" }));
    }
    const made = masksOf(record, f), layers = {};
    for (const layer of ["gt", "dt", "errors"]) {
      layers[layer] = make("g", { class: layer }, ...made[layer].map(mask => mask.group));
      svg.append(layers[layer]);
    }
    const title = `${name}, AP^e ${percent(ap[f][state.idx])}`;
    stage.append(make("figure", {}, make("figcaption", {}, ...marked(title)), svg));
    for (const mask of made.errors) {
      const [x, y] = place(svg, mask.shape);
      const mark = make("g", { class: "mark", "data-x": x, "data-y": y },
        make("circle", { r: 9 }), make("text", { y: 5, "font-size": 14 }, kinds[mask.kind][1]));
      mask.group.append(mark);
    }
    movable(svg);
    return { svg, layers, made };
  });
}
function refresh() {
  for (const button of all("[data-layer]", dialog)) {
    button.setAttribute("aria-pressed", state.layers.has(button.dataset.layer));
  }
  masks.replaceChildren();
  state.panes.forEach(({ svg, layers, made }, f) => {
    const image = one("image", svg), listed = [];
    if (image) image.style.display = state.layers.has("image") ? "" : "none";
    for (const layer of ["gt", "dt", "errors"]) {
      layers[layer].style.display = state.layers.has(layer) ? "" : "none";
      for (const mask of made[layer]) {
        const shown = layer !== "errors" || !state.kind || kinds[mask.kind][0] === state.kind;
        mask.group.style.display = shown ? "" : "none";
        if (shown && state.layers.has(layer)) listed.push(mask);
      }
    }
    const none = state.kind ? `no ${state.kind} errors at IoU ${thrs[state.thr]}` : "nothing to list";
    masks.append(make("div", {}, make("h3", {}, summary(f)), listed.length ? make("ul", {}, ...listed.map(lineOf))
      : make("p", { class: "muted" }, none)));
  });
  one("#viewer-kind").value = state.kind;
  arrange();
  tell(null);
  remember();
}
function lineOf(mask) {
  const sign = mask.kind < 0 ? [] : [make("span", { class: `sign ${kinds[mask.kind][0]}`,
    "aria-hidden": "true" }, kinds[mask.kind][1])];
  const button = make("button", { type: "button" }, ...sign, mask.text);
  for (const event of ["focus", "pointerenter"]) {
    button.addEventListener(event, () => tell(mask.group, mask.text));
  }
  button.addEventListener("pointerleave", () => tell(null));
  button.addEventListener("click", () => closer(mask.shape));
  return make("li", {}, button);
}

// ---- Zoom and pan.
function arrange() {
  // As many columns as make the panes largest, all of them in sight.
  const GAP = 8, CAPTION = 24, n = state.panes.length, ratio = state.size[0] / state.size[1];
  const wide = stage.clientWidth, tall = Math.max(innerHeight * 0.62, 240);
  const height = c => Math.min((wide - GAP * (c - 1)) / c / ratio,
    (tall - GAP) / Math.ceil(n / c) - CAPTION);
  const columns = [...Array(n).keys()].map(k => k + 1).sort((a, b) => height(b) - height(a))[0];
  stage.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  for (const { svg } of state.panes) svg.style.height = `${Math.max(height(columns), 60)}px`;
  look();
}
function look() {
  for (const { svg } of state.panes) {
    svg.setAttribute("viewBox", state.box.join(" "));
    const seen = svg.getBoundingClientRect();
    const scale = 1 / Math.min(seen.width / state.box[2], seen.height / state.box[3]);
    for (const mark of all(".mark", svg)) {
      mark.setAttribute("transform",
        `translate(${mark.dataset.x} ${mark.dataset.y}) scale(${Number.isFinite(scale) ? scale : 1})`);
    }
  }
}
function zoom(by, x = state.box[0] + state.box[2] / 2, y = state.box[1] + state.box[3] / 2) {
  const [left, top, width, height] = state.box;
  const to = Math.min(Math.max(width / by, state.size[0] / 40), state.size[0] * 1.5) / width;
  state.box = [x - (x - left) * to, y - (y - top) * to, width * to, height * to];
  look();
}
function move(x, y) {
  state.box[0] += x;
  state.box[1] += y;
  look();
}
function closer(shape) {
  const { x, y, width, height } = shape.getBBox();
  const scale = Math.max(width / state.size[0], height / state.size[1], 0.08) * 1.6;
  const [w, h] = [state.size[0] * scale, state.size[1] * scale];
  state.box = [x + width / 2 - w / 2, y + height / 2 - h / 2, w, h];
  look();
}
function movable(svg) {
  const at = event => {
    const point = new DOMPoint(event.clientX, event.clientY);
    return point.matrixTransform(svg.getScreenCTM().inverse());
  };
  svg.addEventListener("wheel", event => {
    event.preventDefault();
    const point = at(event);
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, point.x, point.y);
  }, { passive: false });
  let held = null;
  svg.addEventListener("pointerdown", event => { held = at(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", event => {
    if (!held) return;
    const point = at(event);
    move(held.x - point.x, held.y - point.y);
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { held = null; });
}
function whole() { state.box = [0, 0, ...state.size]; look(); }
function toggle(layer) {
  if (!state.layers.delete(layer)) state.layers.add(layer);
  refresh();
}

