"""Turbulent air: formulas against numbers by hand, and simulated points against the formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest

from entityseg_bench.turbulence import Air, blur, distort, draw_fields, haze, transfer_grid, warp

# Strong air, and tilts that are alike over 40 pixels, so that a point moves as a whole.
AIR = Air(100.0, correlation_angle=40 * 15e-6)


def test_the_fried_parameter_by_hand():
    """k = 2 pi / 0.5 um; 0.16 k^2 1e-14 1000 = 252.66; its power -3/5 is 0.03621 m."""
    air = Air(1000.0, cn2=1e-14, wavelength=0.5e-6, aperture=0.1)
    assert air.fried_parameter == pytest.approx(0.03621, rel=1e-3)
    # 5.4367 is the ratio of aperture and Fried parameter to the power 5/3.
    assert air.tilt_variance == pytest.approx(0.182 * 5.4367 * 25e-12, rel=1e-3)
    double = replace(air, distance=2000.0)
    assert double.tilt_variance == pytest.approx(2 * air.tilt_variance)
    assert double.isoplanatic_angle == pytest.approx(air.isoplanatic_angle * 2 ** (-8 / 5))


def test_the_transfer_function_by_hand():
    """Where the lens passes 1/8 of its limit the last factor is one half."""
    air = Air(1000.0, cn2=1e-14, wavelength=0.5e-6, aperture=0.1)
    frequency = air.aperture / air.wavelength / 8
    ratio = 0.1 / 8 / air.fried_parameter
    assert air.transfer(np.array(frequency)) == pytest.approx(
        math.exp(-3.44 * ratio ** (5 / 3) * 0.5)
    )
    assert air.transfer(np.array([0.0, 8 * frequency, 9 * frequency])).tolist() == [1, 0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(20, 31, 3), (20, 31)])
def test_no_distance_is_the_identity(dtype, shape):
    rng = np.random.default_rng(0)
    image = (rng.uniform(size=shape) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    seen = distort(image, Air(0.0, visibility=50.0), seed=3)
    assert seen.dtype == image.dtype and np.array_equal(seen, image)
    assert seen is not image


@pytest.mark.parametrize(("shape", "dtype"), [((1, 1, 3), np.uint8), ((3, 200), np.float32)])
def test_small_images_keep_shape_and_type(shape, dtype):
    seen = distort(np.ones(shape, dtype), AIR)
    assert seen.shape == shape and seen.dtype == dtype


def test_a_seed_repeats_and_another_differs():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(distort(image, AIR, 1), distort(image, AIR, 1))
    assert not np.array_equal(distort(image, AIR, 1), distort(image, AIR, 2))


def centroids(plane, spacing):
    """Find the centre of light of each cell of a grid of points."""
    rows, columns = plane.shape[0] // spacing, plane.shape[1] // spacing
    cells = plane[: rows * spacing, : columns * spacing]
    cells = cells.reshape(rows, spacing, columns, spacing).transpose(0, 2, 1, 3)
    places = np.arange(spacing)
    total = cells.sum((2, 3))
    down = (cells.sum(3) * places).sum(2) / total
    across = (cells.sum(2) * places).sum(2) / total
    return np.stack([down, across])


def test_points_move_by_the_tilt_variance():
    """Points 60 pixels apart move independently: 5 fields of 225 points are known to 6 %."""
    spacing, sigma = 60, 1.5
    offsets = np.arange(spacing) - spacing / 2
    point = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    plane = np.tile(point, (15, 15)).astype(np.float32)
    moved = [
        centroids(warp(plane, draw_fields(*plane.shape, AIR, seed)[0]), spacing) - spacing / 2
        for seed in range(5)
    ]
    measured = np.mean(np.square(moved)) * AIR.pixel_angle**2
    assert measured == pytest.approx(AIR.tilt_variance, rel=0.12)


@pytest.mark.parametrize("pixels", [2, 10, 40])
def test_tilts_have_their_variance_and_correlation(pixels):
    air = replace(AIR, correlation_angle=pixels * AIR.pixel_angle)
    fields = np.stack([draw_fields(400, 400, air, seed)[0] for seed in range(4)])
    variance = air.tilt_variance / air.pixel_angle**2
    assert np.mean(fields**2) == pytest.approx(variance, rel=0.12)
    alike = np.mean(fields[..., pixels:] * fields[..., :-pixels]) / np.mean(fields**2)
    assert alike == pytest.approx(math.exp(-1), abs=0.08)


def test_a_point_is_blurred_by_the_transfer_function():
    point = np.zeros((192, 192), np.float32)
    point[96, 96] = 1
    seen = blur(point, AIR)
    spectrum = np.abs(np.fft.rfft2(seen))
    assert np.abs(spectrum - transfer_grid(192, 192, AIR)).max() < 2e-3
    assert seen.sum() == pytest.approx(1, abs=1e-3)


def test_blurs_are_blended_between_weaker_and_stronger():
    rng = np.random.default_rng(0)
    plane = rng.uniform(size=(64, 64)).astype(np.float32)
    weak, strong = (blur(plane, AIR, np.full_like(plane, share)) for share in (0, 1))
    assert weak.std() > blur(plane, AIR).std() > strong.std()
    half = blur(plane, AIR, np.full_like(plane, 0.5))
    assert np.allclose(half, (weak + strong) / 2, atol=1e-5)


def test_a_shift_by_whole_pixels_moves_pixels():
    plane = np.arange(20, dtype=np.float32).reshape(4, 5)
    shift = np.stack([np.full((4, 5), 1.0), np.full((4, 5), -1.0)]).astype(np.float32)
    expected = plane[np.minimum(np.arange(4) + 1, 3)][:, np.maximum(np.arange(5) - 1, 0)]
    assert np.array_equal(warp(plane, shift), expected)


def test_haze_lets_two_percent_through_at_the_visibility():
    air = Air(500.0, visibility=500.0, airlight=0.5)
    assert haze(np.float32(1), air) == pytest.approx(0.02 + 0.98 * 0.5, abs=1e-3)
    assert haze(np.float32(0.25), replace(air, visibility=None)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("field", "value"),
    [("distance", -1.0), ("distance", math.nan), ("cn2", 0.0), ("aperture", math.inf),
     ("pixel_angle", -1e-6), ("visibility", 0.0), ("airlight", 1.5)],
)  # fmt: skip
def test_impossible_air_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        replace(Air(100.0), **{field: value})


@pytest.mark.parametrize(
    "settings",
    [{"distance": 1e300}, {"wavelength": 1e-300}, {"pixel_angle": 1e-200}, {"cn2": 1e300}],
)
def test_air_beyond_all_numbers_is_refused(settings):
    with pytest.raises(ValueError, match="beyond all numbers"):
        Air(**{"distance": 100.0, **settings})


@pytest.mark.parametrize("settings", [{"wavelength": 1e22}, {"correlation_angle": math.inf}])
def test_air_that_moves_as_one_shifts_an_image_as_a_whole(settings):
    picture = np.random.default_rng(0).random((20, 30, 3), np.float32)
    distorted = distort(picture, Air(100.0, **settings), 0)
    assert distorted.shape == picture.shape and np.isfinite(distorted).all()
