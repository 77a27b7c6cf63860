"""The report and the leaderboard in a real browser: they render, and the console stays empty."""

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench.report import write_report

BOARD = Path(__file__).resolve().parents[2] / "leaderboard" / "index.html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--enable-logging=stderr", "--virtual-time-budget=4000",
)  # fmt: skip


class Browser:
    """Open files in headless Chromium."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder

    def run(self, page: Path, *flags: str) -> tuple[str, list[str]]:
        """Open a page and return what was printed, and the lines of its console."""
        command = [
            self.program, *FLAGS, f"--user-data-dir={self.folder}", *flags, page.resolve().as_uri()
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, re.findall(r".*CONSOLE.*", done.stderr)

    def ask(self, page: Path, script: str, width: int = 1280) -> tuple[object, list[str]]:
        """Run a script on a copy of the page; return what it evaluates to, and the console.

        The copy lies in a frame of that many pixels: no window is as narrow as a phone's.
        """
        copy = self.folder / "asked.html"
        tail = (
            "<script>addEventListener('load', async () => {"
            "const answer = document.createElement('pre'); answer.id = 'answer';"
            f"answer.textContent = JSON.stringify(await (async () => {{ {script} }})());"
            "parent.document.body.append(answer); });</script></body>"
        )
        asked = page.read_text(encoding="utf-8").replace("</body>", tail)
        frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{escape(asked)}">'
        copy.write_text(f"<!doctype html><body>{frame}</iframe></body>", "utf-8")
        dom, console = self.run(copy, "--dump-dom")
        found = re.search(r'<pre id="answer">(.*?)</pre>', dom, re.DOTALL)
        assert found, f"the page did not answer: {console}"
        return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<")), console


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Browser:
    """Find the browser."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium is installed (none of {', '.join(NAMES)})")
    return Browser(program, tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Write a report on two prediction files with pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("report")
    masks = []
    for left in (2, 34):
        mask = np.zeros((40, 60), bool)
        mask[4:36, left : left + 22] = True
        masks.append(mask)
    images = [{"id": k, "file_name": f"{k}.png", "height": 40, "width": 60} for k in range(4)]
    annotations, found = [], {"one": [], "two": []}
    for image in images:
        Image.fromarray(np.full((40, 60, 3), 40 * image["id"], np.uint8)).save(
            folder / image["file_name"]
        )
        for mask in masks:
            own = {"image_id": image["id"], "category_id": 0, "segmentation": rle.encode(mask)}
            annotations.append({**own, "id": len(annotations) + 1})
            moved = rle.encode(np.roll(mask, 2 + 3 * image["id"], axis=1))
            found["one"].append({**own, "score": 0.9})
            found["two"].append({**own, "segmentation": moved, "score": 0.8})
    gt = {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "x"}]}
    (folder / "gt.json").write_text(json.dumps(gt))
    for name, records in found.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    paths = [folder / f"{name}.json" for name in found]
    return write_report(folder / "gt.json", paths, folder / "report.html", folder, n_resamples=50)


def test_the_console_is_seen(browser, tmp_path):
    page = tmp_path / "loud.html"
    page.write_text("<!doctype html><script>missing();</script>")
    _, console = browser.run(page, "--dump-dom")
    assert any("missing is not defined" in line for line in console)


@pytest.mark.parametrize("name", ["report", "board"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_renders_without_a_word_and_fits_the_window(browser, report, name, width):
    page = report if name == "report" else BOARD
    script = (
        "return [innerWidth, document.documentElement.scrollWidth, performance.getEntriesByType"
    )
    (inner, wide, loaded), console = browser.ask(
        page, f"{script}('resource').filter(r => !r.name.startsWith('data:')).length];", width
    )
    assert console == []
    assert loaded == 0
    assert wide <= inner == width
    shot = browser.folder / f"{name}{width}.png"
    _, console = browser.run(page, f"--screenshot={shot}", f"--window-size={width},900")
    assert console == []
    assert shot.stat().st_size > 5000


def test_a_phone_shows_the_numbers_and_keeps_the_names(browser):
    """Without scrolling no number is cut off; with it the names stay where they are."""
    script = """
      const box = document.querySelector("section .scroll"), row = box.querySelector("tbody tr");
      const cut = [...box.querySelectorAll(".n")].filter(cell => cell.offsetParent
        && cell.getBoundingClientRect().right > box.getBoundingClientRect().right).length;
      box.style.width = "15rem";  // of longer names, or larger letters
      const name = row.cells[0], before = name.getBoundingClientRect().left;
      const under = getComputedStyle(name, "::after").content;
      const other = row.cells[5].getBoundingClientRect().left;
      box.scrollLeft = 15;
      return [cut, under, name.getBoundingClientRect().left - before,
        row.cells[5].getBoundingClientRect().left - other];"""
    narrow, console = browser.ask(BOARD, script, 390)
    assert console == []
    assert narrow == [0, '"HorNet-L"', 0, -15]
    assert browser.ask(BOARD, script, 1280)[0][:3] == [0, "none", 0]


def test_pictures_are_decoded(browser, report):
    answer, _ = browser.ask(
        report, "return [...document.images].map(i => [i.complete, i.naturalWidth > 0]);"
    )
    assert len(answer) == 12
    assert all(all(one) for one in answer)


def test_a_table_sorts_by_a_column_and_back(browser):
    script = """
      const head = [...document.querySelectorAll("section table")[0].querySelectorAll("th")]
        .find(h => h.textContent == "APe L");
      const column = () => [...head.closest("table").tBodies[0].rows]
        .map(r => r.cells[head.cellIndex].dataset.value);
      const button = head.querySelector("button");
      button.click(); const falling = [column(), head.ariaSort];
      button.click(); return [falling, [column(), head.ariaSort]];"""
    (falling, rising), console = browser.ask(BOARD, script)
    assert console == []
    values = [value_of(row, "APe", "low") for row in tables()[0]["rows"]]
    known = [f"{value:.10g}" for value in sorted(v for v in values if v is not None)]
    none = [""] * values.count(None)
    assert len(known) > 7
    assert falling == [[*known[::-1], *none], "descending"]
    assert rising == [[*known, *none], "ascending"]


def tables() -> list[dict]:
    """Read what the page shows, as it stands in JSON beside it."""
    return json.loads(BOARD.with_suffix(".json").with_stem("leaderboard").read_text("utf-8"))


def value_of(row: dict, metric: str, resolution: str) -> float | None:
    """Return a number of a row, None where it has none."""
    found = [one["percent"] for one in row["values"]
             if (one["metric"], one["resolution"]) == (metric, resolution)]  # fmt: skip
    return found[0] if found else None


def asked_for(choices: dict) -> int:
    """Count the rows that fit some choices, by hand."""
    n = 0
    for table in tables():
        for row in table["rows"]:
            own = {one["resolution"] for one in row["values"]} - {None}
            wanted = choices.get("resolution")
            n += (
                choices.get("task", table["task"]) == table["task"]
                and choices.get("backbone", row["backbone"]) == row["backbone"]
                and choices.get("origin", row["origin"]) == row["origin"]
                and (wanted is None or not own or wanted in own)
            )
    return n


@pytest.mark.parametrize(
    ("choices", "n_points"),
    [
        ({}, 13),
        ({"task": "panoptic"}, 13),
        ({"resolution": "low", "task": "entity"}, 7),
        ({"backbone": "HorNet-L"}, 4),
        ({"backbone": "SAM ViT-H"}, 0),
        ({"origin": "doubtful"}, 0),
    ],
)
def test_filters_leave_what_was_asked_for(browser, choices, n_points):
    script = "".join(
        f"{{const box = document.getElementById('choose-{name}'); box.value = '{value}';"
        "box.dispatchEvent(new Event('change', {bubbles: true}));}"
        for name, value in choices.items()
    )
    script += """
      const shown = query => [...document.querySelectorAll(query)]
        .filter(one => !one.closest("[hidden]")).length;
      return [shown("section tbody tr"), shown("svg g"),
        document.getElementById("count").textContent];"""
    (rows, marks, count), console = browser.ask(BOARD, script)
    assert console == []
    n_rows = asked_for(choices)
    assert 0 < n_rows <= asked_for({})
    assert (rows, marks, count) == (n_rows, n_points, f"{n_rows} rows")


# Waits until the viewer shows an image; `key` presses a key in it. What is waited for is done by
# other threads, and timers run on while they do, so requests that take real time are counted.
VIEWER = """
      const until = async seen => { for (let k = 0; k < 5000 && !seen(); k++)
        await fetch("data:,").then(answer => answer.text()); };
      const ready = () => until(() => !document.querySelector("#filters").hidden);
      const pane = () => document.querySelector("#viewer[open] #stage svg");
      let last = null;
      const wait = async () => {
        await until(() => pane() && pane() != last && document.querySelector("#told").firstChild);
        last = pane(); };
      const key = (name, more = {}) => document.querySelector("#viewer")
        .dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, ...more }));
      const pressed = () => [...document.querySelectorAll("[data-layer]")]
        .filter(one => one.getAttribute("aria-pressed") == "true").map(one => one.dataset.layer);
      const title = () => document.querySelector("#viewer-title").textContent;
      await ready();
"""


def test_errors_of_a_kind_are_found_from_the_keyboard(browser, report):
    """Enter on the button of a kind shows its images, the costliest first, and their errors."""
    script = f"""{VIEWER}
      const button = document.querySelector("button[data-show]");
      const kind = button.dataset.show;
      button.focus(); button.click(); await wait();
      const why = document.querySelector("#viewer-place").textContent;
      const focused = document.activeElement == document.querySelector("#masks button");
      const first = title(), layers = pressed(), listed = [...document
        .querySelectorAll("#masks button")].map(one => one.textContent);
      document.querySelector("#masks button").focus();
      const told = document.querySelector("#told").textContent;
      const lit = document.querySelectorAll("#stage .on").length;
      key("ArrowRight"); await wait();
      return [kind, why, focused, layers, listed.every(text => text.includes(kind)),
        told == listed[0].slice(1), lit, title() != first,
        document.querySelectorAll("#stage svg").length];"""
    (kind, why, focused, layers, all_of_kind, told, lit, moved, n_panes), console = browser.ask(
        report, script
    )
    assert console == []
    assert why.startswith("1 of ")
    assert f"by what {kind} errors cost " in why
    assert focused
    assert (layers, all_of_kind, told, lit, moved, n_panes) == (
        ["image", "errors"], True, True, 1, True, 2
    )  # fmt: skip


def test_layers_zoom_and_pan_by_key(browser, report):
    script = f"""{VIEWER}
      document.querySelector("#list tbody a").click(); await wait();
      const box = () => document.querySelector("#stage svg").getAttribute("viewBox").split(" ")
        .map(Number);
      const before = box(), shown = () => ["gt", "dt", "errors"].filter(layer =>
        document.querySelector("#stage ." + layer).style.display != "none");
      const layers = [shown()];
      key("2"); layers.push(shown()); key("4"); layers.push(shown()); key("1");
      const image = document.querySelector("#stage image").style.display;
      key("+"); const near = box(); key("ArrowRight", {{ shiftKey: true }}); const right = box();
      key("0"); const whole = box();
      const same = [...document.querySelectorAll("#stage svg")]
        .every(svg => svg.getAttribute("viewBox") == whole.join(" "));
      key("3"); const text = document.querySelector("#stage .dt g").getAttribute("aria-label");
      return [layers, image, before[2] > near[2], right[0] > near[0], before.join() == whole.join(),
        same, text];"""
    (layers, image, nearer, moved, whole, same, text), console = browser.ask(report, script)
    assert console == []
    assert layers == [["errors"], ["gt", "errors"], ["gt"]]
    assert (image, nearer, moved, whole, same) == ("none", True, True, True, True)
    assert re.fullmatch(r"prediction \d+: score 0\.9, IoU [01]\.\d\d, \w+", text)


def test_the_list_is_searched_filtered_and_sorted(browser, report):
    script = f"""{VIEWER}
      const form = document.querySelector("#filters");
      const rows = () => [...document.querySelectorAll("#list tbody tr:not([hidden])")]
        .map(row => row.cells[0].textContent);
      const set = (name, value) => {{ form[name].value = value;
        form[name].dispatchEvent(new Event("input", {{ bubbles: true }})); }};
      const seen = {{ all: rows() }};
      set("search", "2.PNG"); seen.search = rows(); set("search", "");
      set("file", "1"); set("to", "50"); seen.to = rows(); set("to", ""); set("from", "50");
      seen.from = rows(); set("from", "");
      set("size", "large"); seen.large = rows(); set("size", "small"); seen.small = rows();
      const count = document.querySelector("#count").textContent;
      set("size", ""); set("score", "0.85"); seen.score = rows();
      form.reset(); await new Promise(go => setTimeout(go, 20)); seen.reset = rows();
      document.querySelector("#list thead th button").click(); seen.sorted = rows();
      document.querySelector("#list thead th button").click(); seen.turned = rows();
      return [seen, count, document.querySelector("#list th").ariaSort];"""
    (seen, count, order), console = browser.ask(report, script)
    assert console == []
    everything = {"0", "1", "2", "3"}
    assert set(seen["all"]) == set(seen["reset"]) == everything
    assert seen["search"] == ["2"]
    assert set(seen["to"]) | set(seen["from"]) == everything
    assert seen["to"] and seen["from"] and not set(seen["to"]) & set(seen["from"])
    # Entities have 22 x 32 pixels, which is small.
    assert seen["large"] == [] != seen["small"]
    assert count == f"{len(seen['small'])} of 4 images"
    # All predictions of the second file score 0.8.
    assert seen["score"] == []
    assert seen["sorted"] == ["0", "1", "2", "3"] == seen["turned"][::-1]
    assert order == "descending"


def test_an_address_opens_an_image_with_its_layers(browser, report, tmp_path):
    """In a page of its own: the address names image and layers, and follows what is shown."""
    page = tmp_path / "page.html"
    tail = f"""<script>addEventListener("load", async () => {{ {VIEWER} await wait();
      const said = [title(), pressed().join(), location.hash]; key("3"); said.push(location.hash);
      document.querySelector("[data-act=close]").click();
      said.push(location.hash, document.querySelector("#viewer").open);
      document.body.dataset.said = JSON.stringify(said); }});</script></body>"""
    page.write_text(report.read_text("utf-8").replace("</body>", tail), "utf-8")
    command = [browser.program, *FLAGS, f"--user-data-dir={browser.folder}", "--dump-dom",
               f"{page.as_uri()}#image=2&layer=errors,gt"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = json.loads(unescape(re.search(r'data-said="([^"]*)"', done.stdout)[1]))
    assert "CONSOLE" not in done.stderr
    title, layers, address, changed, closed, is_open = said
    assert title.startswith("image 2, 2.png")
    assert layers == "gt,errors"
    assert address == "#image=2&layer=errors,gt" or address == "#image=2&layer=gt,errors"
    assert changed == "#image=2&layer=gt,dt,errors"
    assert (closed, is_open) == ("", False)


def test_the_page_is_whole_without_scripts(browser, report, tmp_path):
    """What a browser without scripts shows: every section, picture and image of the list."""
    page = tmp_path / "plain.html"
    text = re.sub(r"<script>.*?</script>", "", report.read_text("utf-8"), flags=re.DOTALL)
    page.write_text(text, "utf-8")
    script = """
      const seen = one => one.offsetParent !== null;
      document.querySelector("#list").open = true;
      return [[...document.images].filter(seen).length, [...document.querySelectorAll("#list tr")]
        .filter(seen).length, [...document.querySelectorAll("button, form, dialog")].filter(seen)
        .length];"""
    answer, console = browser.ask(page, script)
    assert console == []
    assert answer == [12, 5, 0]


def test_the_boards_search_and_address(browser):
    script = """
      const box = document.getElementById("choose-search");
      box.value = "cropformer swin"; box.dispatchEvent(new Event("input", { bubbles: true }));
      const rows = [...document.querySelectorAll("section:not([hidden]) tbody tr:not([hidden])")];
      return [rows.length, rows.every(row => /cropformer.*swin/i.test(row.textContent)),
        [...document.querySelectorAll("nav a")].map(a => a.getAttribute("href"))];"""
    (n, right, links), console = browser.ask(BOARD, script)
    assert console == []
    assert n > 2
    assert right
    for name in links[:3]:
        assert (BOARD.parent / name).is_file()
    command = [browser.program, *FLAGS, f"--user-data-dir={browser.folder}", "--dump-dom",
               f"{BOARD.as_uri()}#resolution=low&task=entity"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    n = asked_for({"resolution": "low", "task": "entity"})
    assert f'<p class="muted" role="status" id="count">{n} rows</p>' in done.stdout


def test_ranks_are_by_hand(browser):
    """By AP^e at high resolution; equal numbers share a rank, doubtful rows have none."""
    script = """return [...document.querySelector("section tbody").rows]
      .map(row => row.cells[1].textContent);"""
    ranks, _ = browser.ask(BOARD, script)
    rows = tables()[0]["rows"]
    values = [None if row["origin"] == "doubtful" else value_of(row, "APe", "high") for row in rows]
    known = [value for value in values if value is not None]
    expected = ["-" if v is None else str(1 + sum(other > v for other in known)) for v in values]
    assert ranks == expected
    assert "1" in ranks and "-" in ranks
