"""Reading pictures of every kind, and what is said of those that cannot be read."""

import json

import numpy as np
import PIL
import pytest
from PIL import Image

from baselines.images import image_size, read_image
from baselines.pictures import list_pictures
from entityseg_bench.io import InputError

RGB = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [90, 90, 90], [255] * 3]], np.uint8
)


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    image = read_image(path)
    np.testing.assert_array_equal(image, RGB)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image_size(path) == (2, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes(tmp_path, mode):
    suffix = {"CMYK": "tif", "YCbCr": "tif", "HSV": "tif", "PA": "tif"}.get(mode, "png")
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    source = Image.fromarray(grey).convert("RGB")
    if mode == "HSV":
        path = save(tmp_path / f"a.{suffix}", source)
    elif mode == "PA":
        path = save(tmp_path / "a.gif", source.convert("P"))
    else:
        path = save(tmp_path / f"a.{suffix}", source.convert(mode))
    try:
        with Image.open(path) as written:
            written.load()
    except OSError as error:
        pytest.skip(f"Pillow {PIL.__version__} does not read what it writes: {error}")
    np.testing.assert_array_equal(read_image(path), np.stack([grey] * 3, -1))


def test_transparency_is_dropped(tmp_path):
    rgba = np.dstack([RGB, np.zeros((2, 3), np.uint8)])
    path = save(tmp_path / "a.png", Image.fromarray(rgba))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_range(tmp_path, suffix):
    grey = np.array([[0, 257, 65535, 32896]], np.uint16)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(grey))
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 255, 128]


def test_pixels_of_no_known_range_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(InputError, match=r"a\.tif.*no known range"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(RGB), exif=exif)
    expected = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: RGB[::-1].transpose(1, 0, 2),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: RGB.transpose(1, 0, 2)[::-1],
    }[orientation]
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[:2]
    # Annotations made on the stored pixels say so by their size.
    if orientation >= 5:
        np.testing.assert_array_equal(read_image(path, (2, 3)), RGB)
        np.testing.assert_array_equal(read_image(path, (3, 2)), expected)
        assert image_size(path, (2, 3)) == (2, 3)


def test_another_size_than_stated_is_refused(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    with pytest.raises(InputError, match=r"a\.png: the image has 2 x 3 .* where 20 x 30 are"):
        read_image(path, (20, 30))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 255, 255), (0, 0, 0))]
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, **options)
    assert read_image(path).shape == (6, 8, 3)
    assert read_image(path).min() == 255


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 10_000)])
def test_extreme_sizes(tmp_path, size):
    pixels = np.full((*size, 3), 7, np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    np.testing.assert_array_equal(read_image(path), pixels)


def test_broken_files_give_one_error_with_the_name(tmp_path):
    rng = np.random.default_rng(0)
    whole = {}
    for suffix in ("png", "jpg", "tif", "gif", "webp", "bmp"):
        pixels = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
        whole[suffix] = save(tmp_path / f"whole.{suffix}", Image.fromarray(pixels)).read_bytes()
    refused = 0
    for suffix, data in whole.items():
        for length in (0, 1, 10, 40, len(data) // 2):
            path = tmp_path / f"cut{length}.{suffix}"
            path.write_bytes(data[:length])
            try:
                read_image(path)
            except InputError as error:
                assert path.name in str(error)
                assert "\n" not in str(error)
                refused += 1
    assert refused >= 28
    path = tmp_path / "page.jpg"
    path.write_text("<html>not found</html>")
    with pytest.raises(InputError, match=r"page\.jpg: this is a web page \(HTML\), not an image"):
        read_image(path)
    with pytest.raises(InputError, match=r"gone\.jpg: there is no such"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "sub/a.png", "sub/deep/c.png"):
        (tmp_path / "pics" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "pics" / name, Image.fromarray(RGB))
    (tmp_path / "pics" / "notes.txt").write_text("no picture")
    return tmp_path / "pics"


def test_pictures_of_a_folder_a_pattern_and_a_file(folder):
    assert [p.image_id for p in list_pictures(folder)] == ["b.png", "sub/a.png", "sub/deep/c.png"]
    assert [p.image_id for p in list_pictures(f"{folder}/*/*.png")] == ["sub/a.png"]
    assert [p.image_id for p in list_pictures(f"{folder}/**/*.png")] == [
        "b.png",
        "sub/a.png",
        "sub/deep/c.png",
    ]
    assert [p.image_id for p in list_pictures(folder / "b.png")] == ["b.png"]
    with pytest.raises(InputError, match="no image is there"):
        list_pictures(f"{folder}/*.jpg")


def coco(path, *names, **fields):
    images = [{"id": i + 5, "file_name": name, **fields} for i, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


def test_pictures_of_a_coco_file(folder):
    path = coco(folder / "val.json", "sub/a.png", "b.png", height=2, width=3)
    pictures = list_pictures(path)
    assert [(p.image_id, p.file_name, p.size) for p in pictures] == [
        (5, "sub/a.png", (2, 3)),
        (6, "b.png", (2, 3)),
    ]
    # Bare names are looked for below, and the folder can be named.
    path = coco(folder.parent / "val.json", "elsewhere/c.png")
    [picture] = list_pictures(path, folder)
    assert picture.path == folder / "sub/deep/c.png"
    assert picture.size is None


def test_coco_files_that_cannot_be_used(folder):
    with pytest.raises(InputError, match=r"\(gone\.png\): there is no such image"):
        list_pictures(coco(folder / "val.json", "gone.png"))
    save(folder / "sub" / "b.png", Image.fromarray(RGB))
    with pytest.raises(InputError, match=r"\(x/b\.png\): 2 files have this name"):
        list_pictures(coco(folder / "val.json", "x/b.png"))
    (folder / "val.json").write_text(
        '{"images": [{"id": 1, "file_name": "b.png"}, {"id": 1, "file_name": "b.png"}]}'
    )
    with pytest.raises(InputError, match="stands twice"):
        list_pictures(folder / "val.json")
    (folder / "val.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="empty"):
        list_pictures(folder / "val.json")
    with pytest.raises(InputError, match="no such image folder"):
        list_pictures(coco(folder / "val.json", "b.png"), folder / "gone")
