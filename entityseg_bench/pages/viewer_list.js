// The list of all images: sorted, filtered, searched; and what opens an image from the page.
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
function fits(idx, { words, at, kind, size, score, thr, ...ends }) {
  const own = errors[at], value = ap[at][idx];
  if (words && !`${ids[idx]} ${names[idx]}`.toLowerCase().includes(words)) return false;
  for (const [name, turn] of [["from", 1], ["to", -1]]) {
    const end = ends[name];
    if (end !== "" && (value == null || turn * (100 * value - +end) < 0)) return false;
  }
  if (!kind && !size && score === "") return true;
  const part = sizes.indexOf(size || "all");
  return kinds.some(([name], k) => (!kind || name === kind)
    && own.counts[thr][k][idx][part] > 0
    && (score === "" || own.scores[thr][k][idx] != null && own.scores[thr][k][idx] >= +score));
}
function filter() {
  const wanted = asked();
  let n = 0;
  for (const row of rows) n += !(row.hidden = !fits(+row.dataset.idx, wanted));
  one("#count").textContent = `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} images`;
}
const visible = () => rows.filter(row => !row.hidden).map(row => +row.dataset.idx);
const fromList = () => ({ order: visible(), why: "in the list" });
form.addEventListener("input", () => { errorsAt(+form.thr.value); filter(); list.open = true; });
form.addEventListener("reset", () => setTimeout(() => { errorsAt(state.thr); filter(); }));
form.addEventListener("submit", event => event.preventDefault());
form.hidden = false;
filter();

for (const row of rows) {
  const idx = +row.dataset.idx;
  const link = make("a", { href: address(idx, new Set(["image", "errors"]), "") }, ids[idx]);
  row.cells[0].replaceChildren(link);
  link.addEventListener("click", event => {
    event.preventDefault();
    show(idx, fromList());
  });
}
for (const figure of all("figure[id^=image-]")) {
  const idx = ids.indexOf(decodeURIComponent(figure.id.slice(6)));
  const button = make("button", { type: "button" }, "look closer");
  button.addEventListener("click", () => show(idx, fromList()));
  one("figcaption", figure).append(" ", button);
}
for (const button of all("button[data-show]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const { show: kind, file, thr } = button.dataset;
    const k = kindAt(kind), own = errors[file];
    all("thead th", list).forEach(other => other.removeAttribute("aria-sort"));
    sortRows(row => own.costs[k][row.dataset.idx] ?? 0, true);
    errorsAt(+thr);
    form.reset();
    form.kind.value = kind;
    if (form.file) form.file.value = file;
    filter();
    const order = rows.map(row => +row.dataset.idx).filter(idx => own.counts[thr][k][idx][0] > 0);
    state.layers = new Set(["image", "errors"]);
    const whose = files.length > 1 ? files[file] : "the image";
    show(order[0], { order, why: `by what ${kind} errors cost ${whose}`, kind });
  });
}

// Thumbnails, made when they come into sight.
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
