"""Changes to training pairs: photos and true picture of a pair alike, so that the one still says what the other is.

Single pictures and their landmarks are changed on the device, by `models.oneshot.augment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field

from reenactor.face.geometry import mirrored_mesh
from reenactor.research.data.pairs import Pair

_GREY = 128
_QUALITY = (15, 60)
"""Of JPEG, as OpenCV counts."""
_PATCH = (0.15, 0.4)
"""Diameters of an occluder, in sides of the picture."""


class PairAugmentation(BaseModel):
    """How far pairs are changed. The defaults change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirror: float = Field(default=0, ge=0, le=1)
    """Chance; landmarks change sides with the pictures."""
    light: float = Field(default=0, ge=0, lt=1)
    """Exposure, contrast and gamma vary by this factor."""
    colour: float = Field(default=0, ge=0, lt=1)
    """Each colour's strength varies by this factor."""
    grey: float = Field(default=0, ge=0, le=1)
    """Chance that a pair loses its colours."""
    blur: float = Field(default=0, ge=0, le=1)
    """Chance of a Gaussian blur, with a deviation of 0.4 to 1.2 hundredths of the side."""
    compression: float = Field(default=0, ge=0, le=1)
    """Chance of a strong JPEG."""
    occlusion: float = Field(default=0, ge=0, le=1)
    """Chance of something before the face, for each photo but the first: what one hides, others show."""

    @classmethod
    def photos(cls) -> PairAugmentation:
        """What people's photos differ by."""
        return cls(mirror=0.5, light=0.3, colour=0.15, grey=0.05, blur=0.15, compression=0.15, occlusion=0.15)


def augmented(pairs: Sequence[Pair], how: PairAugmentation, rng: np.random.Generator) -> list[Pair]:
    """Pairs with the same photos, all changed in the same way.

    Args:
        pairs: frames of a clip that follow each other.
        how: the most that may happen.
        rng: draws what does.
    """
    if how == PairAugmentation():
        return list(pairs)
    if rng.random() < how.mirror:
        pairs = [_mirrored(pair) for pair in pairs]
    tones, grey = _tones(how, rng), rng.random() < how.grey
    deviation = rng.uniform(0.4, 1.2) * len(pairs[0].truth) / 100 if rng.random() < how.blur else 0.0
    quality = int(rng.integers(*_QUALITY)) if rng.random() < how.compression else None

    def changed(picture: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        picture = cv2.LUT(np.ascontiguousarray(picture), tones)
        if grey:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if deviation:
            picture = cv2.GaussianBlur(picture, (0, 0), deviation)
        if quality is not None:
            _, written = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            picture = cv2.imdecode(written, cv2.IMREAD_COLOR)
        return picture

    photos = [changed(photo) for photo in pairs[0].targets]
    photos[1:] = [_occluded(photo, rng) if rng.random() < how.occlusion else photo for photo in photos[1:]]
    return [replace(pair, targets=np.stack(photos), truth=changed(pair.truth)) for pair in pairs]


def _mirrored(pair: Pair) -> Pair:
    side = len(pair.truth)
    return replace(
        pair,
        targets=pair.targets[:, :, ::-1],
        target_mesh=mirrored_mesh(pair.target_mesh, side),
        truth=pair.truth[:, ::-1],
        driver_mesh=mirrored_mesh(pair.driver_mesh, side),
        mask=pair.mask[:, ::-1],
    )


def _tones(how: PairAugmentation, rng: np.random.Generator) -> UInt8[np.ndarray, "1 256 3"]:
    """What becomes of each level of each colour."""
    exposure, contrast, gamma = np.exp(rng.uniform(-1, 1, 3) * np.log1p(how.light))
    colours = np.exp(rng.uniform(-1, 1, 3) * np.log1p(how.colour))
    levels = 255 * (np.arange(256) / 255) ** gamma
    levels = ((levels - _GREY) * contrast + _GREY) * exposure
    return np.rint(levels[None, :, None] * colours).clip(0, 255).astype(np.uint8)


def _occluded(photo: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
    """An ellipse of one colour, unevenly lit, somewhere."""
    side = len(photo)
    shape = np.zeros((side, side), np.uint8)
    centre, diameters = rng.integers(0, side, 2).tolist(), (rng.uniform(*_PATCH, 2) * side).tolist()
    cv2.ellipse(shape, (centre, diameters, rng.uniform(0, 180)), (255,), -1, cv2.LINE_AA)
    light = cv2.resize(rng.uniform(0.6, 1, (4, 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    share: Float[np.ndarray, "s s 1"] = shape[..., None] / 255
    patch = light[..., None] * rng.uniform(0, 255, 3)
    return np.rint(photo * (1 - share) + patch.clip(0, 255) * share).astype(np.uint8)
