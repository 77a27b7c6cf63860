"""The HTML report: what it finds, draws and writes."""

import base64
import html.parser
import io
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from entity_api import evaluate, rle
from entityseg_bench.cli import main
from entityseg_bench.io import InputError
from entityseg_bench.report import write_report
from entityseg_bench.report.charts import Axis, Bar, Point, Series, bars, lines, nice_step, points
from entityseg_bench.report.findings import Side, choose_images, gather, moved_images, name_sides
from entityseg_bench.report.pictures import encode

SIZE = (48, 64)
VOID_TAGS = {"meta", "link", "img", "br", "input"}


def box(top: int, left: int, height: int, width: int) -> dict:
    """Make a rectangular mask."""
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return rle.encode(mask)


def truth(n_images: int = 6) -> dict:
    """Make ground truth with two entities an image; ids are awkward on purpose."""
    ids = [f"a b/{k}" if k % 2 else k for k in range(n_images)]
    images = [
        {"id": image_id, "file_name": f"<{k}>.png", "height": SIZE[0], "width": SIZE[1]}
        for k, image_id in enumerate(ids)
    ]
    masks = [box(4, 2, 36, 24), box(4, 36, 36, 24)]
    annotations = [
        {"id": 2 * k + j, "image_id": image_id, "category_id": 7, "segmentation": mask}
        for k, image_id in enumerate(ids)
        for j, mask in enumerate(masks)
    ]
    categories = [{"id": 7, "name": "thing <7>"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def predictions(gt: dict, shift: int) -> list[dict]:
    """Predict each entity, the worse the later the image."""
    return [
        {
            "image_id": one["image_id"],
            "segmentation": box(4, (2, 36)[k % 2] - min(k // 2, 2), 36 - shift * (k // 2), 26),
            "score": 0.9 - k / 100,
        }
        for k, one in enumerate(gt["annotations"])
    ]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write ground truth, two prediction files and images."""
    from PIL import Image

    gt = truth()
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for image in gt["images"]:
        noise = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(noise).save(images / image["file_name"])
    paths = {name: tmp_path / f"{name}.json" for name in ("gt", "good", "poor")}
    paths["gt"].write_text(json.dumps(gt))
    for name, shift in (("good", 1), ("poor", 4)):
        paths[name].write_text(json.dumps(predictions(gt, shift)))
    return {**paths, "images": images, "out": tmp_path / "report.html"}


class Checker(html.parser.HTMLParser):
    """Check that tags close in order, and collect ids, links, sources and headings."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.links, self.sources = [], [], [], []
        self.headings, self.alts, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID_TAGS:
            self.open.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.sources += [given["src"]] if "src" in given else []
        self.alts += [given.get("alt", "")] if tag == "img" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def checked(path: Path) -> Checker:
    """Parse a page and check what every page must be."""
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)
    assert all(source.startswith("data:image/jpeg;base64,") for source in checker.sources)
    assert all(checker.alts)
    assert checker.headings[0] == 1
    steps = zip(checker.headings, checker.headings[1:], strict=False)
    assert all(later <= earlier + 1 for earlier, later in steps)
    return checker


def test_a_report_says_what_the_evaluator_says(files):
    write_report(files["gt"], [files["poor"]], files["out"], files["images"], n_resamples=50)
    page = checked(files["out"])
    text = " ".join(" ".join(page.text).split())
    gt = json.loads(files["gt"].read_text())
    found = evaluate(gt, json.loads(files["poor"].read_text()))
    for metric in ("APe", "APe50", "AP"):
        assert f"{100 * found.metrics[metric]:.1f}" in text
    assert "6 images" in text.replace("images 6", "6 images")
    assert "12 entities, 12 predictions" in text
    assert "no predictions overlap" in text
    assert len(page.sources) == 12


def test_two_files_are_compared(files):
    out = write_report(
        files["gt"], [files["good"], files["poor"]], files["out"], files["images"], n_resamples=50
    )
    page = checked(out)
    text = " ".join(" ".join(page.text).split())
    assert "good and poor" in text
    assert "poor minus good, in points" in text
    assert "Worse in poor" in text
    assert len(page.sources) == 18


def test_no_two_tables_have_one_name(files):
    """Who hears the page goes from table to table by their names."""
    write_report(files["gt"], [files["good"], files["poor"]], files["out"], n_resamples=20)
    names = re.findall(r'role="region" aria-label="([^"]*)"', files["out"].read_text("utf-8"))
    assert len(names) > 8
    assert len(set(names)) == len(names)


def test_the_same_files_give_the_same_bytes(files):
    for name in ("one", "two"):
        write_report(
            files["gt"], [files["good"]], files["out"].with_stem(name), files["images"],
            n_resamples=20,
        )  # fmt: skip
    one, two = (files["out"].with_stem(name).read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_report_without_images_has_no_pictures(files):
    write_report(files["gt"], [files["good"]], files["out"], n_resamples=20)
    page = checked(files["out"])
    assert page.sources == []
    assert "worst" not in " ".join(page.text).lower()


def test_awkward_ids_and_names_are_escaped_and_linked(files):
    write_report(files["gt"], [files["good"]], files["out"], files["images"], n_resamples=20)
    page = checked(files["out"])
    assert "image-a%20b%2F1" in page.ids
    assert "#image-a%20b%2F1" in page.links
    assert "<0>.png" not in files["out"].read_text()


def test_pictures_keep_the_page_below_its_limit(files):
    sizes = {}
    for limit in (10_000_000, 120_000):
        write_report(
            files["gt"], [files["good"]], files["out"], files["images"],
            n_resamples=20, max_bytes=limit,
        )  # fmt: skip
        sizes[limit] = files["out"].stat().st_size
        assert sizes[limit] < limit
    assert sizes[120_000] <= sizes[10_000_000]


def test_a_picture_shrinks_to_its_budget():
    from PIL import Image

    noise = np.random.default_rng(1).integers(0, 256, (900, 1200, 3), np.uint8)
    large, small = encode("t", noise, 10**9), encode("t", noise, 60_000)
    # As large as the page shows it, whatever its pixels are.
    assert (large.height, large.width) == (264, 352)
    assert len(small.uri) <= 60_000 < len(large.uri)
    data = base64.b64decode(small.uri.partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size[0] / picture.size[1] == pytest.approx(small.width / small.height, 0.01)
        assert picture.format == "JPEG"


def test_a_file_without_predictions_is_reported(files, tmp_path):
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    write_report(files["gt"], [empty], files["out"], files["images"], n_resamples=20)
    text = " ".join(" ".join(checked(files["out"]).text).split())
    assert "12 entities, 0 predictions" in text


def test_a_ground_truth_without_entities_is_refused(files):
    gt = json.loads(files["gt"].read_text())
    files["gt"].write_text(json.dumps({**gt, "annotations": []}))
    with pytest.raises(InputError, match="annotations: there is none"):
        write_report(files["gt"], [files["good"]], files["out"], n_resamples=20)
    assert not files["out"].exists()


def test_a_missing_image_is_named(files):
    shutil.rmtree(files["images"])
    files["images"].mkdir()
    with pytest.raises(InputError, match=r"image 4 \(<4>\.png\): there is no such image file"):
        write_report(files["gt"], [files["good"]], files["out"], files["images"], n_resamples=20)
    assert not files["out"].exists()


def test_the_command_writes_the_page(files, capsys):
    command = ["report", str(files["gt"]), str(files["good"]), "--out", str(files["out"])]
    assert main([*command, "--resamples", "20"]) == 0
    assert capsys.readouterr().out.startswith(str(files["out"]))
    checked(files["out"])
    assert main([*command, "--resamples", "0"]) == 2
    assert "--resamples" in capsys.readouterr().err


def side_of(values: list[float]) -> Side:
    """Make a side that knows AP^e of each image alone."""
    return Side("name", None, {}, np.array(values), None, None)


def test_worst_median_and_best_images():
    values = [0.5, math.nan, 0.1, 0.9, 0.3, 0.7]
    assert choose_images(side_of(values), 1) == {"Worst": [2], "Median": [0], "Best": [3]}
    chosen = choose_images(side_of(values), 4)
    assert chosen == {"Worst": [2, 4], "Median": [0], "Best": [3, 5]}
    assert choose_images(side_of([math.nan]), 4) == {"Worst": [], "Median": [], "Best": []}
    assert choose_images(side_of([0.4]), 4)["Worst"] == [0]


def test_moved_images():
    first, second = side_of([0.5, 0.5, 0.5, math.nan]), side_of([0.9, 0.1, 0.5, 0.3])
    assert moved_images(first, second, 3) == {"Better in name": [0], "Worse in name": [1]}


def test_sides_are_told_apart():
    assert name_sides([Path("x/a.json"), Path("x/b.json.gz")]) == ["a", "b"]
    assert name_sides([Path("x/a.json"), Path("y/a.json")]) == ["x/a.json", "y/a.json"]
    same = name_sides([Path("x/a.json"), Path("x/a.json")])
    assert same == ["x/a.json (A)", "x/a.json (B)"]


def test_curves_are_the_evaluators(files):
    (side,) = gather(files["gt"], [files["poor"]], n_resamples=20).sides
    by_iou = side.ap_by_iou()
    assert by_iou.mean() == pytest.approx(side.result.metrics["APe"], abs=1e-12)
    assert by_iou[0] == pytest.approx(side.result.metrics["APe50"], abs=1e-12)
    assert side.precision_at(0.75).mean() == pytest.approx(side.result.metrics["APe75"], abs=1e-12)


@pytest.mark.parametrize(
    ("span", "step"), [(1.0, 0.2), (100.0, 20.0), (43.0, 10.0), (7.0, 2.0), (0.35, 0.1)]
)
def test_steps_of_an_axis_are_round(span, step):
    assert nice_step(span) == pytest.approx(step)


def test_an_axis_holds_its_values():
    axis = Axis.around([38.8, 51.5], "AP", zero=False)
    assert (axis.low, axis.high) == (35, 55)
    assert Axis.around([], "x").ticks[-1] >= 1
    assert Axis.around([3.0], "x", zero=False).high > 3


def test_a_gap_interrupts_a_line():
    unit = Axis(0, 2, (0, 1, 2), "x")
    svg = lines([Series("s", (0, 1, 2), (0, math.nan, 2), marks=True)], unit, unit, "t")
    path = re.search(r'<path d="([^"]*)" fill="none"', svg)[1]
    assert path.count("M") == 2
    assert svg.count("<circle") == 2
    assert "nan" not in svg


def test_bars_are_as_long_as_their_values():
    svg = bars([Bar("a", [10.0], ["10"]), Bar("b", [20.0, math.nan], ["20", "-"])], "t")
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)]
    assert len(widths) == 2
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)


def test_points_tell_what_they_are():
    axis = Axis(0, 1, (0, 1), "AP^e")
    marks = [Point(0.5, 0.5, "a & b", shape) for shape in ("round", "square", "diamond")]
    svg = points(marks, axis, axis, "t")
    assert svg.count("<title>a &amp; b</title>") == 3
    assert 'aria-label="t"' in svg
