"""The report and the leaderboard in a real browser: they render, and the console stays empty."""

import json
import os
import re
import shutil
import subprocess
from html import escape
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
            moved = rle.encode(np.roll(mask, 2 + image["id"], axis=1))
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
      const name = row.cells[0], before = name.getBoundingClientRect().left;
      const under = getComputedStyle(name, "::after").content;
      const other = row.cells[4].getBoundingClientRect().left;
      box.scrollLeft = 40;
      return [cut, under, name.getBoundingClientRect().left - before,
        row.cells[4].getBoundingClientRect().left - other];"""
    narrow, console = browser.ask(BOARD, script, 390)
    assert console == []
    assert narrow == [0, '"HorNet-L"', 0, -40]
    assert browser.ask(BOARD, script, 1280)[0] == [0, "none", 0, 0]


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
    known = [
        "49.1", "48.9", "47.1", "45.8", "44.4", "42.7", "42.1", "40.6", "38.8", "37.1", "35.2",
        "35.1", "34.4", "33.8", "33", "32.5", "32.1", "31.9",
    ]  # fmt: skip
    assert falling == [[*known, "", ""], "descending"]
    assert rising == [[*known[::-1], "", ""], "ascending"]


@pytest.mark.parametrize(
    ("choices", "n_rows", "n_points"),
    [
        ({}, 49, 13),
        ({"task": "panoptic"}, 2, 13),
        ({"resolution": "low", "task": "entity"}, 41, 7),
        ({"backbone": "HorNet-L"}, 2, 4),
        ({"backbone": "SAM ViT-H"}, 2, 0),
        ({"origin": "doubtful"}, 3, 0),
    ],
)
def test_filters_leave_what_was_asked_for(browser, choices, n_rows, n_points):
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
    assert (rows, marks, count) == (n_rows, n_points, f"{n_rows} rows")
