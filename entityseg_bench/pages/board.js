"use strict";
// Rows and columns bear what they are as data attributes; choosing only hides, sorting only moves.
const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
const NAMES = ["search", "task", "resolution", "backbone", "origin"];
const field = name => document.getElementById("choose-" + name);
const form = document.querySelector(".controls");
function show() {
  const [search, task, resolution, backbone, origin] = NAMES.map(name => field(name).value);
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (wanted, own) => !wanted || !own || own.split(" ").includes(wanted);
  // Marks of the plot are SVG, which has the attribute but no property `hidden`.
  each("[data-resolution]", one => one.toggleAttribute("hidden",
    !fits(resolution, one.dataset.resolution)));
  each("[data-filled]", one => {
    const text = one.textContent.toLowerCase();
    one.toggleAttribute("hidden", !fits(resolution, one.dataset.filled)
      || backbone && backbone !== one.dataset.backbone || origin && origin !== one.dataset.origin
      || !words.every(word => text.includes(word)));
  });
  each("section[data-task]", part => part.hidden = !fits(task, part.dataset.task)
    || !part.querySelector("tbody tr:not([hidden])"));
  const count = document.querySelectorAll("section:not([hidden]) tbody tr:not([hidden])").length;
  document.getElementById("count").textContent = count + (count === 1 ? " row" : " rows");
}
function remember() {
  // A page within a page has no address of its own.
  if (location.protocol === "about:") return;
  const words = new URLSearchParams();
  for (const name of NAMES) if (field(name).value) words.set(name, field(name).value);
  const hash = words.toString();
  history.replaceState(null, "", hash ? "#" + hash : location.href.split("#")[0]);
}
function follow() {
  const words = new URLSearchParams(location.hash.slice(1));
  if (NAMES.some(name => words.has(name))) {
    for (const name of NAMES) field(name).value = words.get(name) ?? "";
  }
  show();
}
function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0];
  const place = [...head.parentNode.children].indexOf(head), number = head.classList.contains("n");
  const falling = head.ariaSort ? head.ariaSort !== "descending" : number;
  table.querySelectorAll("th[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const key = row => row.cells[place].dataset.value ?? row.cells[place].textContent;
  const order = (one, other) => {
    const a = key(one), b = key(other);
    if (number && (a === "" || b === "")) return (a === "") - (b === "");
    return (falling ? -1 : 1) * (number ? a - b : a.localeCompare(b, "en"));
  };
  body.append(...[...body.rows].sort(order));
}
form.addEventListener("input", () => { show(); remember(); });
form.addEventListener("change", () => { show(); remember(); });
form.addEventListener("reset", () => setTimeout(() => { show(); remember(); }));
form.addEventListener("submit", event => event.preventDefault());
each("th button", button => button.addEventListener("click", () => sort(button.parentNode)));
addEventListener("hashchange", follow);
form.hidden = false;
follow();
