// What the theme leaves out for those who hear a page or use no mouse: names, and a way to scroll.
function name() {
  document.querySelector(".md-search")?.setAttribute("aria-label", "search");
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach(nav => {
    nav.setAttribute("aria-label", nav.closest("pre")?.id || "code");
  });
  document.querySelectorAll("pre code:not([tabindex])").forEach(code => { code.tabIndex = 0; });
  document.querySelectorAll("th:empty").forEach(head => {
    head.innerHTML = '<span class="unseen">what it does</span>';
  });
}
name();
// The theme adds buttons, and takes the way to scroll away, when it has measured the page.
new MutationObserver(name).observe(document.body,
  { childList: true, subtree: true, attributes: true, attributeFilter: ["tabindex"] });
