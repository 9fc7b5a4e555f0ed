"""Where compared pictures come from: heat maps over the photos, at one moment of the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core.progress import Progress
from reenactor.engine import Reenactor, Track
from reenactor.engine.composite import heat_over
from reenactor.engine.portrait import Target, driver_frame
from reenactor.engine.track import track_of_file, track_rest
from reenactor.face.retarget import DriverRest
from reenactor.models import PhotoMap, PhotoUse
from reenactor.server.page import html
from reenactor.server.worker import encode_jpeg

HEAT_PX = 192
_MOST_SHOWN = 8
"""Of the up to 32 frames of a video."""
_ONE_POINT = ": nearly all at one point of a photo, which says little"


@dataclass(frozen=True)
class Origins:
    """Models that can tell where their pictures come from.

    Args:
        variants: models with their targets set, by the name of the variant to draw.
        track: the driver's.
        rest: the driver at rest.
    """

    variants: Mapping[str, Reenactor]
    track: Track
    rest: DriverRest

    @property
    def times_s(self) -> Float[np.ndarray, " t"]:
        """Time of each frame of the driver in seconds."""
        return self.track.pts * float(self.track.time_base)

    def at(self, time_s: float) -> str:
        """The heat maps of all variants for the frame nearest to a time, as HTML."""
        frame = int(np.abs(self.times_s - time_s).argmin())
        return "".join(self._section(variant, reenactor, frame) for variant, reenactor in self.variants.items())

    def _section(self, variant: str, reenactor: Reenactor, frame: int) -> str:
        target = reenactor.target
        mesh = next(reenactor.target_meshes(self.track, start=frame, rest=self.rest))
        driver = driver_frame(reenactor.model, mesh[None], target.crop.size)
        maps = reenactor.model.photo_maps(target.portrait.code, driver)
        groups = [_group("the picture", _picture(reenactor.draw(mesh), f"{self.times_s[frame]:.2f} s"))]
        groups += [_group(_heading(one), _heats(target, one)) for one in maps]
        return f'<section class="re-origin"><h3>{escape(variant)}</h3><div>{"".join(groups)}</div></section>'


def origins_of(
    reenactors: Iterable[tuple[str, Reenactor]],
    photos: Sequence[Path],
    face: int | None,
    driver: Path,
    folder: Path,
    progress: Progress,
) -> Origins | None:
    """Prepare the heat maps; None if none of the variants has any.

    Args:
        reenactors: name of the variant and its model, without targets.
        photos, face: of the target; see `Reenactor.set_target`.
        driver: a video, motion file or photo.
        folder: for a video's landmarks; must exist as long as the result is used.
        progress: of the work.

    Raises:
        ReenactError: a photo or the driver cannot be used.
    """
    variants = {variant: reenactor for variant, reenactor in reenactors if reenactor.model.photo_uses}
    if not variants:
        return None
    for reenactor in variants.values():
        reenactor.set_target(list(photos), face=face, progress=progress)
    progress.start("finding where the pictures come from", 0, None)
    track = track_of_file(driver, folder, on_frame=progress.step)
    return Origins(variants, track, track_rest(track))


def _heats(target: Target, one: PhotoMap) -> str:
    """The map over the photos, of many the ones that contribute most."""
    names, crops, shares = _names(target), target.portrait.crops, one.weights.sum(axis=(1, 2))
    figures = []
    for i in sorted(np.argsort(-shares, kind="stable")[:_MOST_SHOWN]):
        photo = cv2.resize(crops[i], (HEAT_PX, HEAT_PX), interpolation=cv2.INTER_AREA)
        label = names[i] + (f": {shares[i]:.0%}" if len(names) > 1 else "")
        figures.append(_picture(heat_over(np.asarray(photo, np.uint8), one.weights[i], one.brightest), label))
    return "".join(figures)


def _names(target: Target) -> list[str]:
    """Names of the pictures that the model was given: "photo 1", or "video 1" for each frame of it, or "person 1"."""
    videos = {one.photo for one in target.videos}
    # A photo gives one picture, and a person file mostly several.
    several = {number for number in target.sources if target.sources.count(number) > 1} - videos
    return [
        f"{'video' if number in videos else 'person' if number in several else 'photo'} {number}"
        for number in target.sources
    ]


def _heading(one: PhotoMap) -> str:
    if one.use is PhotoUse.TAKEN:
        return f"{one.use.value}: {one.weights.sum():.0%} of the picture"
    at_peaks = one.weights.max(axis=(1, 2)).sum()
    return f"{one.use.value}{_ONE_POINT if at_peaks > 0.5 else ''}"


def _picture(pixels: UInt8[np.ndarray, "h w 3"], name: str) -> str:
    return html.picture(encode_jpeg(pixels), name)


def _group(heading: str, figures: str) -> str:
    return f'<div class="re-heats"><h4>{heading}</h4><div class="re-crops">{figures}</div></div>'
