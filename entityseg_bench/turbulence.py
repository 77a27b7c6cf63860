"""What turbulent air does to an image over a horizontal path, from named physical quantities.

The path has one strength of turbulence along its length, and light from each point of the object
is a spherical wave. Rays are tilted, then the image is blurred by what remains: Chan, "Tilt-then-
blur or blur-then-tilt?" (2022) shows that this order is the right one. Masks are not touched: what
is supervised and scored is where the object is, not where the air shows it.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["VARIATION", "Air", "blur", "distort", "draw_fields", "haze", "transfer_grid", "warp"]

T = TypeVar("T")
Floats = NDArray[np.float32]
Images = NDArray[Any]

# Koschmieder: at the visibility, contrast has fallen to 2 %, and -ln 0.02 is 3.912.
VISIBILITY_DEPTH = 3.912
# Cells of the coarse noise to a correlation length: the field is interpolated between them.
CELLS = 4
# Blurs of a stronger and a weaker part of the field differ by this share of the Fried parameter.
VARIATION = 0.15
WORKERS = 2


@dataclass(frozen=True)
class Air:
    """The air between camera and object, and the camera.

    Attributes:
        distance: Of the object, in metres; 0 is no air.
        cn2: Structure constant of the refractive index, in m^(-2/3); 1e-15 is weak, 1e-12 strong.
        wavelength: In metres.
        aperture: Diameter of the lens, in metres.
        pixel_angle: Angle that a pixel sees, in radians: its pitch over the focal length.
        correlation_angle: Over which tilts are alike, in radians; None is the isoplanatic angle.
        visibility: In metres, for haze; None is clear air.
        airlight: Grey value of haze without end, 0 to 1.
    """

    distance: float
    cn2: float = 1e-12
    wavelength: float = 525e-9
    aperture: float = 0.1
    pixel_angle: float = 15e-6
    correlation_angle: float | None = None
    visibility: float | None = None
    airlight: float = 0.8

    def __post_init__(self) -> None:
        for name in ("cn2", "wavelength", "aperture", "pixel_angle"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} {getattr(self, name)} must be greater than 0")
        if not (math.isfinite(self.distance) and self.distance >= 0):
            raise ValueError(f"distance {self.distance} must be 0 m or more")
        for name in ("correlation_angle", "visibility"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} {value} must be greater than 0")
        if not 0 <= self.airlight <= 1:
            raise ValueError(f"airlight {self.airlight} must be from 0 to 1")
        try:
            angles = self.isoplanatic_angle, self.tilt_variance / self.pixel_angle**2
            tellable = (angles[0] > 0 and all(map(math.isfinite, angles))) or self.distance == 0
        except (OverflowError, ZeroDivisionError):
            tellable = False
        if not tellable:
            raise ValueError(
                "such air is beyond all numbers: take distances and widths of this world"
            )

    @property
    def wave_number(self) -> float:
        """2 pi / wavelength, in 1/m."""
        return 2 * math.pi / self.wavelength

    @property
    def fried_parameter(self) -> float:
        """Width over which a spherical wave stays coherent, in metres; infinite without air."""
        if self.distance == 0:
            return math.inf
        return (0.16 * self.wave_number**2 * self.cn2 * self.distance) ** (-3 / 5)

    @property
    def isoplanatic_angle(self) -> float:
        """Angle between points whose light meets the same turbulence, in radians.

        (2.914 k^2 times the integral of Cn2 z^(5/3) along the path)^(-3/5), z from the camera.
        """
        if self.distance == 0:
            return math.inf
        integral = self.cn2 * self.distance ** (8 / 3) * 3 / 8
        return (2.914 * self.wave_number**2 * integral) ** (-3 / 5)

    @property
    def tilt_variance(self) -> float:
        """Variance of the angle of arrival along each axis, in rad^2."""
        if self.distance == 0:
            return 0.0
        ratio = self.aperture / self.fried_parameter
        return 0.182 * ratio ** (5 / 3) * (self.wavelength / self.aperture) ** 2

    @property
    def transmission(self) -> float:
        """Share of the object's light that haze lets through, 0 to 1."""
        if self.visibility is None:
            return 1.0
        return math.exp(-VISIBILITY_DEPTH * self.distance / self.visibility)

    def transfer(self, frequency: NDArray[Any], strength: float = 1.0) -> NDArray[np.float64]:
        """Give the short-exposure transfer function of the air (Fried 1966).

        Args:
            frequency: In cycles a radian, of any shape.
            strength: By which the Fried parameter is divided.

        Returns:
            Of the same shape, from 0 to 1; 0 from the frequency that the lens passes no more.
        """
        of_lens = self.wavelength * np.asarray(frequency, np.float64) / self.aperture
        of_air = of_lens * (self.aperture * strength / self.fried_parameter)
        exponent = -3.44 * of_air ** (5 / 3) * (1 - np.minimum(of_lens, 1) ** (1 / 3))
        return np.where((of_lens < 1) | (self.distance == 0), np.exp(exponent), 0.0)


def distort(image: Images, air: Air, seed: int = 0) -> Images:
    """Show an image as it is seen through the air: tilted, blurred, then hazy.

    Args:
        image: (H, W) or (H, W, C), uint8, or floats from 0 to 1.
        air: Strength and camera; at 0 m the image comes back bit for bit.
        seed: Of all chance.

    Returns:
        A new array of the same shape and type.
    """
    if air.distance == 0:
        return image.copy()
    planes = np.atleast_3d(image).transpose(2, 0, 1)
    values: Floats = planes.astype(np.float32) / np.float32(255 if image.dtype == np.uint8 else 1)
    shift, weight = draw_fields(image.shape[0], image.shape[1], air, seed)
    seen = np.stack(_each(lambda plane: blur(warp(plane, shift), air, weight), values))
    seen = haze(seen, air).transpose(1, 2, 0).reshape(image.shape)
    if image.dtype == np.uint8:
        return np.clip(np.rint(seen * 255), 0, 255).astype(np.uint8)
    return seen.astype(image.dtype)


def draw_fields(height: int, width: int, air: Air, seed: int) -> tuple[Floats, Floats]:
    """Draw what chance decides of an image.

    Returns:
        Shifts (2, H, W) down and to the right in pixels, whose variance is the air's tilt variance;
        and how much the stronger of two blurs counts (H, W), 0 to 1 and one half on average.
    """
    rng = np.random.default_rng(seed)
    angle = air.correlation_angle or air.isoplanatic_angle
    # Over a hundred images' width the tilts are one and the same in all of an image.
    length = min(angle / air.pixel_angle, 100 * max(height, width))
    scale = math.sqrt(air.tilt_variance) / air.pixel_angle
    shift = np.stack([scale * _smooth_noise(height, width, length, rng) for _ in range(2)])
    slow = _smooth_noise(height, width, max(height, width) / 4, rng)
    return shift, (0.5 + 0.5 * np.tanh(slow)).astype(np.float32)


def _smooth_noise(height: int, width: int, length: float, rng: np.random.Generator) -> Floats:
    """Draw a field of variance 1 whose correlation over a distance d is exp(-(d / length)^2).

    Lengths are in pixels. Below 2 the grid of pixels is too coarse for the shape, not the variance.
    """
    step = min(max(length / CELLS, 1.0), max(height, width))
    # In cells, the kernel whose autocorrelation is the wanted one.
    reach = length / step
    half = math.ceil(1.6 * reach) + 1
    kernel = np.exp(-2 * (np.arange(-half, half + 1) / reach) ** 2)
    kernel /= math.sqrt((kernel**2).sum())
    rows, columns = math.ceil(height / step) + 2, math.ceil(width / step) + 2
    noise = rng.standard_normal((rows + 2 * half, columns + 2 * half))
    noise = _convolve(_convolve(noise, kernel, 0), kernel, 1)
    start = rng.uniform(size=2)
    return _interpolated(noise.astype(np.float32), height, width, step, start)


def _convolve(field: NDArray[Any], kernel: NDArray[Any], axis: int) -> NDArray[Any]:
    windows = np.lib.stride_tricks.sliding_window_view(field, len(kernel), axis)
    result: NDArray[Any] = windows @ kernel
    return result


def _interpolated(
    field: Floats, height: int, width: int, step: float, start: NDArray[Any]
) -> Floats:
    """Enlarge a coarse field, along one axis after the other; its variance stays 1."""
    if step == 1:
        return field[:height, :width].copy()
    for axis, size in enumerate((height, width)):
        place = start[axis] + np.arange(size) / step
        low = np.minimum(place.astype(np.intp), field.shape[axis] - 2)
        share = (place - low).astype(np.float32)
        # Between two cells a mean varies less than they do: made good by their correlation.
        alike = math.exp(-((1 / CELLS) ** 2))
        gain = 1 / np.sqrt((1 - share) ** 2 + share**2 + 2 * alike * share * (1 - share))
        shape = (-1, 1) if axis == 0 else (1, -1)
        below, above = np.take(field, low, axis), np.take(field, low + 1, axis)
        field = below * ((1 - share) * gain).reshape(shape) + above * (share * gain).reshape(shape)
    return field.astype(np.float32)


def warp(plane: Floats, shift: Floats) -> Floats:
    """Look up each pixel where its ray comes from, bilinearly; the border goes on outside.

    Args:
        plane: (H, W).
        shift: (2, H, W) in pixels, down and to the right.
    """
    height, width = plane.shape
    row = np.clip(shift[0] + np.arange(height, dtype=np.float32)[:, None], 0, height - 1)
    column = np.clip(shift[1] + np.arange(width, dtype=np.float32), 0, width - 1)
    top = np.minimum(row.astype(np.int32), max(height - 2, 0))
    left = np.minimum(column.astype(np.int32), max(width - 2, 0))
    row -= top
    column -= left
    flat, first = plane.ravel(), top * width + left
    right, below = int(width > 1), width * int(height > 1)
    upper = flat[first] * (1 - column) + flat[first + right] * column
    lower = flat[first + below] * (1 - column) + flat[first + below + right] * column
    result: Floats = upper * (1 - row) + lower * row
    return result


def blur(plane: Floats, air: Air, weight: Floats | None = None) -> Floats:
    """Blur by the air's transfer function, or by a weaker and a stronger one, blended.

    Args:
        plane: (H, W).
        air: Whose transfer function it is.
        weight: (H, W), share of the stronger one; None blurs alike everywhere.
    """
    height, width = plane.shape
    # The transform goes round at the borders; what it brings from there is cut off again.
    margin = min(32, height, width)
    padded = np.pad(plane, margin, mode="symmetric")
    padded = np.pad(padded, [(0, _fast_size(n) - n) for n in padded.shape], mode="edge")
    spectrum = np.fft.rfft2(padded)

    def seen(strength: float) -> Floats:
        grid = transfer_grid(padded.shape[0], padded.shape[1], air, strength)
        whole = np.fft.irfft2(spectrum * grid, s=padded.shape)
        return whole[margin : margin + height, margin : margin + width].astype(np.float32)

    if weight is None:
        return seen(1.0)
    weak, strong = seen(1 - VARIATION), seen(1 + VARIATION)
    return weak + (strong - weak) * weight


def transfer_grid(height: int, width: int, air: Air, strength: float = 1.0) -> Floats:
    """Give the transfer function for `numpy.fft.rfft2` of an image, (H, W // 2 + 1)."""
    down = np.fft.fftfreq(height)[:, None]
    across = np.fft.rfftfreq(width)
    frequency = np.sqrt(down**2 + across**2) / air.pixel_angle
    return air.transfer(frequency, strength).astype(np.float32)


def haze(values: T, air: Air) -> T:
    """Mix the light of the object with that of the air (Koschmieder); values are from 0 to 1.

    Args:
        values: Any array or tensor of floats.
        air: Its transmission and airlight.
    """
    mixed: T = values * air.transmission + air.airlight * (1 - air.transmission)  # type: ignore
    return mixed


def _fast_size(size: int) -> int:
    """Give the least size from there on whose only factors are 2, 3 and 5."""
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1


def _each(work: Callable[[Floats], Floats], planes: Floats) -> list[Floats]:
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, planes))
