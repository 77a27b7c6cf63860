"""Draw synthetic images of wiggly entities whose every pixel is known."""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Scene", "draw_scene", "kind_of", "load_photos"]

# Photographs in scikit-image's own wheel that are public domain or CC0, as skimage.data says of
# each; reading the files beside the module never starts a download.
PHOTOS = (
    "grass.png", "coffee.png", "brick.png", "chelsea.png", "gravel.png", "rocket.jpg",
    "hubble_deep_field.jpg",
)  # fmt: skip

# Remnants below this share of the image stay unlabelled, as an annotator would leave them.
LEAST_SHARE = 0.0005

Floats = NDArray[np.float32]


class Kind(NamedTuple):
    """Say how the entities of one category look, so that there is something to learn.

    ``colour`` is the mean RGB in 0..255, ``photo`` the index of the texture, ``elongation`` the
    ratio of a thing's axes and ``lobes`` the strongest wave around its outline.
    """

    category_id: int
    colour: tuple[float, float, float]
    photo: int
    elongation: float
    lobes: int


class Scene(NamedTuple):
    """Hold one drawn image and its truth.

    ``image`` is (H, W, 3) uint8 RGB; ``id_map`` is (H, W) int32 with 0 for unlabelled and k + 1
    for entity k; ``category_ids`` and ``crowds`` have one entry an entity.
    """

    image: NDArray[np.uint8]
    id_map: NDArray[np.int32]
    category_ids: list[int]
    crowds: list[bool]


def kind_of(idx: int, category_id: int) -> Kind:
    """Give the ``idx``-th category in use a look of its own, the same in every data set."""
    # Multiples of the golden ratio and two other irrationals never cluster.
    hue, saturation, value = (idx * step % 1 for step in (0.618034, 0.414214, 0.732051))
    colour = colorsys.hsv_to_rgb(hue, 0.25 + 0.5 * saturation, 0.4 + 0.5 * value)
    red, green, blue = (255 * channel for channel in colour)
    elongation = 1 + 1.2 * (idx * 0.302776 % 1)
    return Kind(category_id, (red, green, blue), idx % len(PHOTOS), elongation, 2 + idx % 4)


def load_photos() -> list[NDArray[np.uint8]]:
    """Read the photographs that textures are cut from, (H, W, 3) uint8 RGB each."""
    import skimage.data
    from PIL import Image

    folder = Path(skimage.data.__file__).parent
    photos = []
    for name in PHOTOS:
        with Image.open(folder / name) as photo:
            photos.append(np.asarray(photo.convert("RGB")))
    return photos


def draw_scene(
    rng: np.random.Generator,
    height: int,
    width: int,
    things: Sequence[Kind],
    stuff: Sequence[Kind],
    photos: Sequence[NDArray[np.uint8]],
    with_crowd: bool = False,
) -> Scene:
    """Draw stuff regions that fill the image and thing blobs on top, the small ones last.

    Args:
        rng: Source of all chance.
        height: Of the image in pixels.
        width: Of the image in pixels.
        things: Kinds of countable entities; the first are the most frequent.
        stuff: Kinds of the background regions; the first are the most frequent.
        photos: Textures, (H, W, 3) uint8 each, indexed by ``Kind.photo``.
        with_crowd: Whether one entity is a crowd, many small blobs under one id.
    """
    canvas = np.zeros((height, width, 3), np.float32)
    id_map = np.zeros((height, width), np.int32)
    category_ids: list[int] = []
    crowds: list[bool] = []

    def add(kind: Kind, mask: NDArray[np.bool_], y0: int, x0: int, crowd: bool = False) -> None:
        window = np.s_[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
        canvas[window][mask] = _texture(rng, kind, photos, *mask.shape)[mask]
        category_ids.append(kind.category_id)
        crowds.append(crowd)
        id_map[window][mask] = len(category_ids)

    regions = _warped_voronoi(rng, height, width, int(rng.integers(2, 6)))
    # Neighbours of one kind could not be told apart, so each kind fills one region at most.
    free = list(stuff)
    for region in range(regions.max() + 1):
        kind = _pick(rng, free)
        free.remove(kind)
        add(kind, regions == region, 0, 0)
    if rng.random() < 0.3:
        id_map[id_map == len(category_ids)] = 0
    short = min(height, width)
    radii = short * np.exp(rng.uniform(np.log(0.03), np.log(0.22), int(rng.integers(6, 21))))
    for radius in np.sort(radii)[::-1]:
        kind = _pick(rng, things)
        add(kind, *_placed(rng, kind, radius, height, width))
    if with_crowd:
        kind = _pick(rng, things)
        add(kind, *_crowd(rng, kind, short, height, width), crowd=True)
    return _finish(rng, canvas, id_map, category_ids, crowds)


def _pick(rng: np.random.Generator, kinds: Sequence[Kind]) -> Kind:
    """Choose a kind, the k-th with a chance of 1 / (k + 3): a long tail, as in the real set."""
    chance = 1 / (np.arange(len(kinds)) + 3)
    return kinds[int(rng.choice(len(kinds), p=chance / chance.sum()))]


def _smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Floats:
    """Draw noise of mean 0 and deviation about 1 that varies over ``cell`` pixels."""
    from PIL import Image

    grid_size = (int(height / cell) + 3, int(width / cell) + 3)
    grid = Image.fromarray(rng.standard_normal(grid_size).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))


def _warped_voronoi(rng: np.random.Generator, height: int, width: int, n: int) -> NDArray[np.intp]:
    """Cut the image into n regions with wavy borders, (H, W) of 0..n-1."""
    short = min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for coarseness, reach in ((0.4, 0.08), (0.1, 0.015)):
        y = y + short * reach * _smooth_noise(rng, height, width, short * coarseness)
        x = x + short * reach * _smooth_noise(rng, height, width, short * coarseness)
    seeds = rng.random((n, 2)) * (height, width)
    distance = [(y - seed_y) ** 2 + (x - seed_x) ** 2 for seed_y, seed_x in seeds]
    return np.argmin(distance, axis=0)


def _blob(rng: np.random.Generator, kind: Kind, radius: float) -> NDArray[np.bool_]:
    """Draw one wiggly outline, a square mask with the blob in its middle."""
    half = int(radius * 1.5 * kind.elongation**0.5) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32) / radius
    turn = rng.uniform(0, np.pi)
    along = (x * np.cos(turn) + y * np.sin(turn)) / kind.elongation**0.5
    across = (y * np.cos(turn) - x * np.sin(turn)) * kind.elongation**0.5
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for wave in range(2, 7):
        strength = 0.22 if wave == kind.lobes else 0.2 / wave
        outline += strength * rng.random() * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    ripple = 0.06 * _smooth_noise(rng, len(x), len(x), max(radius / 3, 2))
    return np.hypot(along, across) + ripple <= np.minimum(outline, 1.4)


def _placed(
    rng: np.random.Generator, kind: Kind, radius: float, height: int, width: int
) -> tuple[NDArray[np.bool_], int, int]:
    """Draw a blob with its centre in the image; return it cut to the image, and its corner."""
    return _cut(
        _blob(rng, kind, radius), rng.random() * height, rng.random() * width, height, width
    )


def _cut(
    mask: NDArray[np.bool_], centre_y: float, centre_x: float, height: int, width: int
) -> tuple[NDArray[np.bool_], int, int]:
    top, left = int(centre_y) - mask.shape[0] // 2, int(centre_x) - mask.shape[1] // 2
    y0, x0 = max(top, 0), max(left, 0)
    return mask[y0 - top : height - top, x0 - left : width - left], y0, x0


def _crowd(
    rng: np.random.Generator, kind: Kind, short: int, height: int, width: int
) -> tuple[NDArray[np.bool_], int, int]:
    """Draw many small blobs close together as one mask of the image."""
    together = np.zeros((height, width), bool)
    centre = rng.uniform(0.25, 0.75, 2) * (height, width)
    for _ in range(int(rng.integers(8, 13))):
        at = np.clip(centre + rng.normal(0, 0.1 * short, 2), 0, (height - 1, width - 1))
        mask, y0, x0 = _cut(_blob(rng, kind, 0.035 * short + 1), at[0], at[1], height, width)
        together[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]] |= mask
    return together, 0, 0


def _texture(
    rng: np.random.Generator,
    kind: Kind,
    photos: Sequence[NDArray[np.uint8]],
    height: int,
    width: int,
) -> Floats:
    """Cut a piece of the kind's photograph and give it the kind's colour, light from one side."""
    from PIL import Image

    photo = photos[kind.photo]
    zoom = rng.uniform(0.7, 1.4)
    piece_h = min(int(height * zoom) + 2, photo.shape[0])
    piece_w = min(int(width * zoom) + 2, photo.shape[1])
    top = int(rng.integers(photo.shape[0] - piece_h + 1))
    left = int(rng.integers(photo.shape[1] - piece_w + 1))
    piece = Image.fromarray(photo[top : top + piece_h, left : left + piece_w])
    grain = np.asarray(piece.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    if rng.random() < 0.5:
        grain = grain[:, ::-1]
    light = np.linspace(-1, 1, height)[:, None] * rng.normal(0, 12)
    light = light + np.linspace(-1, 1, width) * rng.normal(0, 12)
    colour = np.array(kind.colour) * rng.normal(1, 0.08) + rng.normal(0, 8, 3)
    grain = (grain - grain.mean(axis=(0, 1))) * rng.uniform(0.35, 0.75)
    return (colour + grain + light[..., None]).astype(np.float32)


def _finish(
    rng: np.random.Generator,
    canvas: Floats,
    id_map: NDArray[np.int32],
    category_ids: list[int],
    crowds: list[bool],
) -> Scene:
    """Soften and grain the drawing as a camera does; leave out entities that are hidden."""
    from PIL import Image, ImageFilter

    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)))
    grainy = soft + rng.normal(0, 3, soft.shape)
    visible = np.bincount(id_map.ravel(), minlength=len(category_ids) + 1)[1:]
    kept = np.flatnonzero(visible >= max(LEAST_SHARE * id_map.size, 12))
    new_id = np.zeros(len(category_ids) + 1, np.int32)
    new_id[kept + 1] = np.arange(1, len(kept) + 1)
    return Scene(
        np.clip(grainy, 0, 255).astype(np.uint8),
        new_id[id_map],
        [category_ids[k] for k in kept],
        [crowds[k] for k in kept],
    )
