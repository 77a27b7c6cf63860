"use strict";
// The error viewer. Without it the page is whole: this adds, and hides nothing but what is filtered.
(async () => {
  if (!("DecompressionStream" in window) || !HTMLDialogElement.prototype.showModal) return;
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
  const { kinds, sizes, files, ids, names, ap, errors } = index;
  const kindAt = name => kinds.findIndex(kind => kind[0] === name);
  const dialog = one("#viewer"), stage = one("#stage"), told = one("#told"), masks = one("#masks");
  const form = one("#filters"), list = one("#list"), body = one("tbody", list);
  const rows = all("tr", body);
  const rowOf = new Map(rows.map(row => [+row.dataset.idx, row]));
  const state = { idx: -1, order: [], why: "", kind: "", layers: new Set(["image", "errors"]),
    box: [0, 0, 1, 1], size: [1, 1] };

  // ---- The list: sort, filter, search.
  function sortRows(key, falling) {
    const known = new Map(rows.map(row => [row, key(row)]));
    rows.sort((a, b) => {
      const x = known.get(a), y = known.get(b);
      if (x == null || y == null) return (x == null) - (y == null);
      const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
      return falling ? -order : order;
    });
    body.append(...rows);
  }
  all("thead th", list).forEach((head, place) => {
    const button = make("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const number = place > 1;
      const falling = head.ariaSort ? head.ariaSort !== "descending" : number;
      all("thead th", list).forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      sortRows(row => {
        const idx = +row.dataset.idx;
        return number ? JSON.parse(row.dataset.values)[place - 2] : [ids, names][place][idx];
      }, falling);
    });
  });
  function asked() {
    const data = Object.fromEntries(new FormData(form));
    data.words = data.search.trim().toLowerCase();
    data.at = +(data.file || 0);
    return data;
  }
  function fits(idx, { words, at, kind, size, score, ...ends }) {
    const own = errors[at], value = ap[at][idx];
    if (words && !`${ids[idx]} ${names[idx]}`.toLowerCase().includes(words)) return false;
    for (const [name, turn] of [["from", 1], ["to", -1]]) {
      const end = ends[name];
      if (end !== "" && (value == null || turn * (100 * value - +end) < 0)) return false;
    }
    if (!kind && !size && score === "") return true;
    const part = sizes.indexOf(size || "all");
    return kinds.some(([name], k) => (!kind || name === kind)
      && own.counts[k][idx][part] > 0
      && (score === "" || own.scores[k][idx] != null && own.scores[k][idx] >= +score));
  }
  function filter() {
    const wanted = asked();
    let n = 0;
    for (const row of rows) n += !(row.hidden = !fits(+row.dataset.idx, wanted));
    one("#count").textContent = `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} images`;
  }
  const visible = () => rows.filter(row => !row.hidden).map(row => +row.dataset.idx);
  form.addEventListener("input", () => { filter(); list.open = true; });
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  filter();

  const address = (idx, layers = state.layers, kind = state.kind) => {
    const words = new URLSearchParams({ image: ids[idx] });
    words.set("layer", LAYERS.filter(layer => layers.has(layer)).join(","));
    if (kind) words.set("kind", kind);
    return "#" + words.toString().replaceAll("%2C", ",");
  };
  for (const row of rows) {
    const idx = +row.dataset.idx;
    const link = make("a", { href: address(idx, new Set(["image", "errors"]), "") }, ids[idx]);
    row.cells[0].replaceChildren(link);
    link.addEventListener("click", event => {
      event.preventDefault();
      show(idx, { order: visible(), why: "of the list" });
    });
  }
  for (const figure of all("figure[id^=image-]")) {
    const idx = ids.indexOf(decodeURIComponent(figure.id.slice(6)));
    const button = make("button", { type: "button" }, "look closer");
    button.addEventListener("click", () => show(idx, { order: visible(), why: "of the list" }));
    one("figcaption", figure).append(" ", button);
  }
  for (const button of all("button[data-show]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const kind = button.dataset.show, k = kindAt(kind);
      const has = idx => errors.some(own => own.counts[k][idx][0] > 0);
      const cost = idx => Math.max(...errors.map(own => own.costs[k][idx] ?? 0));
      all("thead th", list).forEach(other => other.removeAttribute("aria-sort"));
      sortRows(row => cost(+row.dataset.idx), true);
      form.reset();
      form.kind.value = kind;
      filter();
      const order = rows.map(row => +row.dataset.idx).filter(has);
      state.layers = new Set(["image", "errors"]);
      show(order[0], { order, why: `by what ${kind} errors cost the image`, kind });
    });
  }

  // Thumbnails of the list, made when they come into sight.
  const source = pixels => /^[\w%.~-]+\/\d+\.webp$/.test(pixels) ? pixels
    : "data:image/webp;base64," + pixels;
  const seen = new IntersectionObserver(found => {
    for (const { isIntersecting, target } of found) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      target.src = source(lines[+target.dataset.idx].split(" ")[1]);
    }
  }, { rootMargin: "200px" });
  list.addEventListener("toggle", () => {
    for (const row of lines[0].includes(" ") ? rows : []) {
      const small = make("img", { alt: "", "data-idx": row.dataset.idx, class: "small" });
      one("a", row).prepend(small);
      seen.observe(small);
    }
  }, { once: true });

  // ---- One image.
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
  function maskOf(kind, file, text, path, colour) {
    const group = make("g", { role: "img", "aria-label": text });
    const shape = make("path", { d: path });
    if (colour) { shape.setAttribute("fill", colour); shape.setAttribute("stroke", colour); }
    group.append(shape);
    if (kind >= 0) group.classList.add(kinds[kind][0]);
    group.addEventListener("pointerenter", () => tell(group, text));
    group.addEventListener("pointerleave", () => tell(null));
    return { group, shape, kind, file, text };
  }
  function tell(group, text = "") {
    all(".on", stage).forEach(other => other.classList.remove("on"));
    if (group) group.classList.add("on");
    told.replaceChildren(...marked(text || summary()));
  }
  function summary() {
    const said = files.map((name, f) => {
      const own = kinds.map(([kind], k) => [errors[f].counts[k][state.idx][0], kind])
        .filter(([n]) => n).map(([n, kind]) => `${n} ${kind}`);
      const lead = files.length > 1 ? `${name}: ` : "";
      return `${lead}AP^e ${percent(ap[f][state.idx])}; ${own.join(", ") || "no errors"} at IoU .50`;
    });
    return said.join(" \u2014 ");
  }
  function masksOf(record, f) {
    const made = { gt: [], dt: [], errors: [] }, own = record.files[f];
    const what = kind => kind < 0 ? "counts neither way" : kind < kinds.length ? kinds[kind][0] : "found";
    record.gt.forEach(([id, name, path], k) => {
      if (!path) return;
      const [kind, iou] = own.gt[k];
      const text = `entity ${[id, name].filter(Boolean).join(", ")}: ${what(kind)}, `
        + `best IoU ${iou.toFixed(2)}`;
      made.gt.push(maskOf(-1, f, text, path, hue(k)));
      if (kind === 0) made.errors.push(maskOf(kind, f, text, path));
    });
    own.dt.forEach(([id, kind, score, iou, path], k) => {
      const text = `prediction ${id}: score ${score}, IoU ${iou.toFixed(2)}, ${what(kind)}`;
      made.dt.push(maskOf(-1, f, text, path, hue(k)));
      if (kind > 0 && kind < kinds.length) made.errors.push(maskOf(kind, f, text, path));
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
      const lines = listed.map(mask => {
        const sign = mask.kind < 0 ? [] : [make("span", { class: `sign ${kinds[mask.kind][0]}`,
          "aria-hidden": "true" }, kinds[mask.kind][1])];
        const button = make("button", { type: "button" }, ...sign, mask.text);
        for (const event of ["focus", "pointerenter"]) {
          button.addEventListener(event, () => tell(mask.group, mask.text));
        }
        button.addEventListener("pointerleave", () => tell(null));
        button.addEventListener("click", () => closer(mask.shape));
        return make("li", {}, button);
      });
      const none = state.kind ? `no ${state.kind} errors` : "nothing to list";
      const title = files.length > 1 ? [make("h3", {}, files[f])] : [];
      masks.append(make("div", {}, ...title,
        lines.length ? make("ul", {}, ...lines) : make("p", { class: "muted" }, none)));
    });
    one("#viewer-kind").value = state.kind;
    look();
    tell(null);
    remember();
  }
  function remember() {
    // A page within a page has no address of its own.
    if (location.protocol === "about:") return;
    history.replaceState(null, "", dialog.open ? address(state.idx) : location.href.split("#")[0]);
  }
  async function show(idx, { order, why, kind, keep } = {}) {
    const [packed, pixels] = lines[idx].split(" ");
    const record = await unpack(packed);
    state.idx = idx;
    if (order) [state.order, state.why, state.kind] = [order, why, kind ?? ""];
    const at = state.order.indexOf(idx);
    const where = at < 0 ? "" : ` \u2014 ${at + 1} of ${state.order.length} ${state.why}`;
    one("#viewer-title").textContent = `image ${ids[idx]}, ${names[idx]}${where}`;
    if (!dialog.open) dialog.showModal();
    draw(record, pixels);
    if (!keep) state.box = [0, 0, ...state.size];
    refresh();
  }
  function step(by) {
    const n = state.order.length;
    if (n) show(state.order[(state.order.indexOf(state.idx) + by + n) % n]);
  }

  // ---- Zoom and pan: all files move together.
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

  // ---- Buttons and keys.
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
  dialog.addEventListener("close", remember);
  dialog.addEventListener("keydown", event => {
    if (event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = state.box[2] / 10;
    const arrows = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    const keys = { "+": acts.in, "=": acts.in, "-": acts.out, 0: whole, ArrowLeft: acts.before,
      ArrowRight: acts.next };
    LAYERS.forEach((layer, k) => { keys[k + 1] = () => toggle(layer); });
    const act = event.shiftKey && arrows[event.key] ? () => move(...arrows[event.key]) : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  addEventListener("resize", () => dialog.open && look());

  // ---- Addresses: #image=17&layer=errors
  function follow() {
    const words = new URLSearchParams(location.hash.slice(1));
    if (!words.has("image")) return;
    const idx = ids.indexOf(words.get("image"));
    if (idx < 0) return;
    const layers = (words.get("layer") ?? "image,errors").split(",").filter(one => LAYERS.includes(one));
    state.layers = new Set(layers.length === 1 ? ["image", ...layers] : layers);
    const kind = kindAt(words.get("kind")) < 0 ? "" : words.get("kind");
    show(idx, { order: visible(), why: "of the list", kind });
  }
  addEventListener("hashchange", follow);
  follow();
})();
