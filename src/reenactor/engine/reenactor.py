"""The Python interface: choose a person by photos, then draw frame after frame as a driver moves."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Union

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from reenactor.core import (
    DEFAULT_MODEL,
    Background,
    Head,
    Landmarks,
    Motion,
    NoFaceError,
    Options,
    ReenactError,
    Runtime,
    Transfer,
    check_face_number,
    check_still,
    head_with,
)
from reenactor.core.progress import Progress, Silent
from reenactor.engine.cache import FaceCache, faces_folder
from reenactor.engine.colours import OwnColours
from reenactor.engine.composite import Compositor, MovingOpacity, StillBackground
from reenactor.engine.cutout import cut_out
from reenactor.engine.live_driver import LiveDriver
from reenactor.engine.loading import fits, load_model, load_transformer, system, tuned_model
from reenactor.engine.notices import Notice, notices
from reenactor.engine.portrait import (
    Photo,
    Picture,
    Portrait,
    ResultFrame,
    Target,
    UsedVideo,
    model_crop,
    other_people,
    pixels_of,
)
from reenactor.engine.retarget import Retarget
from reenactor.engine.runtimes import ExportedModel
from reenactor.engine.target_pictures import TargetPicture, TargetPictures, is_target_video, picture_crop
from reenactor.engine.track import Track, driver_pictures, shot_heads, track_of_file, track_of_photo, track_rest
from reenactor.face.perception import FaceFinder, MeshSmoother
from reenactor.face.perception.photo_check import Finding
from reenactor.face.retarget import EASE_S, DriverRest, Easing, Moderation, PartsRetargeter, Retargeter
from reenactor.face.retarget.transformer import TransformerRetargeter
from reenactor.media.motion_file import is_motion
from reenactor.media.person_file import Person, Tuning, is_person, read_person
from reenactor.models import ReenactmentModel

Driver = Union[str, "os.PathLike[str]", Motion, Picture, Iterable[Photo]]

Mesh = Float[np.ndarray, "478 3"]

MAX_TARGETS = 8


class Reenactor:
    """Animates the person in one to eight photos, videos or person files, frame by frame.

    reenactor = Reenactor()
    reenactor.set_target(["person.jpg"])
    for frame in reenactor.drive("driver.mp4"):
        show(frame.image)

    Args:
        model: name of a model or published system (`reenactor models` lists them), or a model of your own, in
            evaluation mode; that one stays on the device it is on.
        transfer: how the driver's movement is carried over; None for the model's usual one.
        keep_expression: the photo's expression stays beneath the movement, with the transfer PARTS.
        head: whether the head turns by as much as the driver's, or to the driver's angles; None for the transfer's
            usual.
        head_movement: how much of the driver's head movement is followed, from 0 (the head stays) to 1 (all).
        strength: of the driver's expression, from 0 (none) over 1 (as it is) to 2; lids and gaze stay as they are.
        size: side of the face crop in pixels, a multiple of 32 from 64 to 2048. None: the size that the model was
            trained at (256 if it has none), or, for models that work at any resolution, the photo's (256 to 1024).
        max_side: photos with a longer side are shrunk to it first.
        weights: folder of a checkpoint for a model given by name; None for the weights that ship.
        transformer: folder of a landmark transformer's checkpoint, for the transfer of that name; None for the one
            that ships.
        runtime: what computes a model given by name; "auto" takes the fastest one here.
        background: "still" keeps the photo's background where it is; "moving" lets it follow the head.
        device: what PyTorch computes a model given by name on: "auto" (a CUDA GPU if there is one, else the CPU),
            "cpu", "cuda", "cuda:1" or "mps". GPUs compute in half precision.
        alpha: the first photo is cut out, and stays so: frames have a fourth channel, opacity from 0 to 255, which
            moves with the head. Their colours are not multiplied by it.
        cache: remember the faces found in photos between runs, in the user's cache folder; the environment variable
            REENACTOR_NO_CACHE forbids it.

    Attributes:
        needs_pictures: the transfer looks at the driver's pictures, not only at landmarks.

    Raises:
        ReenactError: an argument that cannot be, or a model, runtime or device that is not there.
        CheckpointError: weights that cannot be read or are not of this model.
    """

    def __init__(
        self,
        model: str | ReenactmentModel = DEFAULT_MODEL,
        *,
        transfer: Transfer | str | None = None,
        head: Head | str | None = None,
        head_movement: float = 1.0,
        strength: float = 1.0,
        keep_expression: bool = False,
        size: int | None = None,
        max_side: int = 1920,
        weights: str | os.PathLike[str] | None = None,
        transformer: str | os.PathLike[str] | None = None,
        runtime: Runtime | str = Runtime.TORCH,
        background: Background | str = Background.STILL,
        device: str = "auto",
        alpha: bool = False,
        cache: bool = True,
    ) -> None:
        chosen = system(model if isinstance(model, str) else model.name)
        self.transfer = chosen.transfer if transfer is None else Transfer(transfer)
        options = Options(
            model=chosen.model,
            weights=None if weights is None else Path(weights),
            transfer=self.transfer,
            head=None if head is None else Head(head),
            head_movement=head_movement,
            strength=strength,
            keep_expression=keep_expression,
            transformer=None if transformer is None else Path(transformer),
            size=size,
            max_side=max_side,
            background=Background(background),
            runtime=Runtime(runtime),
            device=device,
            alpha=alpha,
        )
        if isinstance(model, str):
            self.model = load_model(chosen.model, options.weights, options.runtime, device)
        else:
            for what, differs in (
                ("weights", weights is not None),
                ("a runtime", options.runtime is not Runtime.TORCH),
                ("a device", device != "auto"),
            ):
                if differs:
                    raise ReenactError(f"{what} can only be chosen for a model given by name; this one has its own")
            self.model = model
        self._untuned = self.model
        self._transformer = load_transformer(transformer) if self.transfer is Transfer.TRANSFORMER else None
        self.needs_pictures = self._transformer is not None and self._transformer.config.needs_pictures
        self._target_faces: np.ndarray | None = None
        self._options = options
        self._still: StillBackground | None = None
        self._colours: OwnColours | None = None
        self._opacity: MovingOpacity | None = None
        self._cache = FaceCache(faces_folder() if cache else None)
        self._target: Target | None = None
        self._compositor: Compositor | None = None

    @classmethod
    def of(cls, options: Options) -> Reenactor:
        """The reenactor that a job with these options uses; raises as the constructor does."""
        return cls(
            options.model,
            transfer=options.transfer,
            head=options.head,
            head_movement=options.head_movement,
            strength=options.strength,
            keep_expression=options.keep_expression,
            size=options.size,
            max_side=options.max_side,
            weights=options.weights,
            transformer=options.transformer,
            runtime=options.runtime,
            background=options.background,
            device=options.device,
            alpha=options.alpha,
        )

    @property
    def target(self) -> Target:
        """The person set by `set_target`."""
        if self._target is None:
            raise ReenactError("there is no target yet; call set_target([photo]) first")
        return self._target

    def set_target(
        self,
        photos: Sequence[Photo],
        *,
        face: int | None = None,
        still: int | None = None,
        progress: Progress | None = None,
    ) -> Target:
        """Choose the person: one to eight photos, videos or person files; the first is the one that is animated.

        Of a video those frames are used that show most of the person, up to what `model.needs.video_frames` says;
        `Target.videos` tells which one moves. If the first is a person file with a tuning of these weights, `model` is
        the tuned one until another target is chosen. Photos of which the result will look wrong are not refused;
        `Target.warnings` says why.

        Args:
            photos: paths (of photos, videos, animations, person files), Pillow pictures, or (H, W, 3) uint8 RGB arrays.
            face: which face of each photo, counted from the left; None for the largest.
            still: number of the first video's frame that is animated, from 0; None for one that faces the camera.
            progress: receives the progress through videos.

        Raises:
            NoFaceError: if a photo shows no face (or fewer than `face`).
            MediaError: if a photo cannot be read.
            ReenactError: also if nothing of the first photo is transparent, with `alpha`.
            ValueError: if an array has another shape or type.
        """
        if isinstance(photos, (str, os.PathLike, np.ndarray, Image.Image)):
            raise ReenactError("set_target takes a list of photos, and one photo was given; write set_target([photo])")
        if not isinstance(photos, Sequence):
            raise ReenactError(f"set_target takes a list of photos, and {type(photos).__name__} was given")
        if not 1 <= len(photos) <= MAX_TARGETS:
            raise ReenactError(f"{len(photos)} photos were given; give one to {MAX_TARGETS}, all of one person")
        check_still(still)
        needs, options = self._untuned.needs, self._options
        photos = photos[: needs.max_targets]
        if options.alpha and (is_person(photos[0]) or is_target_video(photos[0])):
            raise ReenactError(f"{photos[0]} has no transparency to keep; leave out alpha, or give a photo")
        if face is not None and all(map(is_person, photos)):
            raise ReenactError("a person file holds one face; leave out the face's number")
        targets = [
            read_person(one) if isinstance(one, (str, os.PathLike)) and is_person(one) else one for one in photos
        ]
        person = targets[0] if isinstance(targets[0], Person) else None
        model = self._tuned(None if person is None else person.tuning)
        most = min(needs.max_targets or needs.video_frames, needs.video_frames)
        read = TargetPictures(options.max_side, face, self._cache, progress or Silent())
        crops, cuts, meshes, seen, sources = [], [], [], [], []
        firsts: list[TargetPicture] = []  # of each photo or video, as are the crops
        for one in read(targets, most, still=still):
            if one.source > len(firsts):
                firsts.append(one)
                crop = model_crop(model, one.found.mesh, one.pixels, crops[0].size if crops else options.size)
                crops.append(crop)
            else:
                crop = picture_crop(model, one, crops[0].size, (firsts[-1], crops[-1]))
            cuts.append(crop.cut(one.pixels))
            meshes.append(crop.to_crop(one.found.mesh))
            if self._transformer is not None and self.needs_pictures:
                seen.append(self._transformer.crop(one.pixels, one.found.mesh))
            sources.append(one.source)
        shown, cutout, moving = firsts[0].pixels, None, None
        photo = shown
        if options.alpha:
            shown = cut_out(photos[0], options.max_side)
            photo, opacity = np.ascontiguousarray(shown[..., :3]), crops[0].cut(shown[..., 3])
            cuts[0] = crops[0].cut(photo)
            moving, cutout = MovingOpacity(opacity, meshes[0]), opacity / np.float32(255)
        mesh_px = np.stack(meshes)
        portrait = Portrait(model, np.stack(cuts), mesh_px)
        warnings = [notice for one in firsts for notice in notices(one.source, one.found)]
        if person is not None and person.tuning and person.tuning.difference and model is self._untuned:
            warnings.append(Notice(Finding.OTHER_WEIGHTS, 1))
        if len(firsts) > 1:
            others = other_people([one.pixels for one in firsts], [Landmarks(one.found.mesh) for one in firsts])
            warnings += [Notice(Finding.OTHER_PERSON, number) for number in others]
        videos = tuple(
            UsedVideo(one.source, sources.count(one.source), one.frame, one.time_s)
            for one in firsts
            if one.frame is not None
        )
        neutral = person.neutral if person is not None and len(targets) == 1 else None
        self.model = model
        self._target = Target(photo, crops[0], mesh_px, portrait, tuple(warnings), videos, neutral, tuple(sources))
        self._target_faces = np.stack(seen) if seen else None
        self._compositor, self._opacity = Compositor(shown, crops[0]), moving
        drawing = any(one.finding is Finding.DRAWING for one in warnings)
        self._colours = OwnColours(cuts[0], mesh_px[0], drawing=drawing)
        still_there = options.background is Background.STILL
        self._still = StillBackground(cuts[0], mesh_px[0], cutout) if still_there else None
        return self._target

    def _tuned(self, tuning: Tuning | None) -> ReenactmentModel:
        """The model with this tuning; as it is if that is of other weights."""
        if tuning is None or not tuning.difference or not fits(tuning, self._untuned):
            return self._untuned
        if not isinstance(self._untuned, ExportedModel):
            return tuned_model(self._untuned, tuning)
        options = self._options
        return load_model(options.model, options.weights, options.runtime, options.device, tuning)

    def retargeter(self, rest: DriverRest, *, learn: bool = False) -> Retarget:
        """Carries a driver's landmarks over to the target.

        Args:
            rest: the driver at rest.
            learn: what it is like at rest is learned from the landmarks as they come, with the transfer PARTS.
        """
        target, transformer, options = self.target, self._transformer, self._options
        meshes = target.upright_mesh_px
        head = head_with(self.transfer, options.head)
        moderation = Moderation(
            rest.mesh_px,
            rest.shape,
            absolute=head is Head.ABSOLUTE,
            head=options.head_movement,
            strength=options.strength,
        )
        if transformer is not None:
            carry = TransformerRetargeter(transformer, meshes, rest.mesh_px, self._target_faces, head)
            return Retarget(moderation, carry, transformer.crop if self.needs_pictures else None, target.crop)
        if self.transfer is Transfer.PARTS:
            keep, neutral = options.keep_expression, target.neutral
            carry = PartsRetargeter(meshes, rest, head=head, keep_expression=keep, learn=learn, neutral=neutral)
        else:
            carry = Retargeter(meshes[0], rest.mesh_px, self.transfer, head)
        return Retarget(moderation, carry, target=target.crop)

    def check_driver(self, driver: Driver) -> None:
        """Refuse a driver without pictures where the landmark transformer looks at them.

        Raises:
            ReenactError: it is a motion.
        """
        if self.needs_pictures and (isinstance(driver, Motion) or _is_motion_file(driver)):
            raise ReenactError(
                "this landmark transformer looks at the driver's pictures, and a motion has none; "
                "give a video or a photo as driver, or another transformer"
            )

    def draw(self, mesh_px: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "s s c"]:
        """The target's face crop with the given landmarks (crop pixels), RGB; with `alpha` its opacity too."""
        return self.draw_many(mesh_px[None])[0]

    def draw_many(self, mesh_px: Float[np.ndarray, "b 478 3"]) -> list[UInt8[np.ndarray, "s s c"]]:
        """Face crops with the landmarks of each of B frames, drawn together: what a GPU needs to be fast."""
        colours = self._colours
        assert colours is not None
        drawn = [colours.apply(face) for face in self.target.portrait.draw(mesh_px)]
        if self._still is not None:
            drawn = [self._still.apply(face, mesh) for face, mesh in zip(drawn, mesh_px, strict=True)]
        if self._opacity is not None:
            drawn = [np.dstack([face, self._opacity.at(mesh)]) for face, mesh in zip(drawn, mesh_px, strict=True)]
        return drawn

    def paste(self, face: UInt8[np.ndarray, "s s c"]) -> UInt8[np.ndarray, "h w c"]:
        """The whole photo with a drawn face crop in it."""
        assert self._compositor is not None
        return self._compositor.paste(face)

    def frame(self, mesh_px: Float[np.ndarray, "478 3"], time_s: float) -> ResultFrame:
        """A frame of the result with the given landmarks (crop pixels)."""
        face = self.draw(mesh_px)
        return ResultFrame(self.paste(face), face, mesh_px, time_s)

    def live(
        self,
        *,
        smooth: bool = True,
        neutral: Photo | None = None,
        mirror: bool = False,
        face: int | None = None,
    ) -> LiveDriver:
        """Drive by pictures that are handed over one by one: `with r.live() as live: live.step(picture, time_s)`.

        Args:
            smooth: steady the landmarks with a One-Euro filter.
            neutral: a picture of the driver at rest; None for the first that shows a face.
            mirror: move like a mirror image.
            face: which face of the driver, counted from the left; None for the largest.

        Raises:
            ReenactError: there is no target, or an argument cannot be.
            NoFaceError: the neutral picture shows no face.
        """
        _ = self.target
        rest = None if neutral is None else _rest_mesh(neutral)
        return LiveDriver(self, smooth=smooth, rest=rest, mirror=mirror, face=face)

    def drive(
        self,
        driver: Driver,
        *,
        neutral: Photo | None = None,
        smooth: bool = False,
        fps: float = 25.0,
        driver_face: int | None = None,
    ) -> Iterator[ResultFrame]:
        """Move the target like the driver, frame by frame; memory does not grow with the driver's length.

        Args:
            driver: a video, photo or motion file; a `Motion`; one picture; or pictures as they come (a webcam, say).
                While none of these has shown a face yet, the frames show the photo and say `driver_seen=False`.
            neutral: a picture of the driver at rest. By default it is found among the driver's frames; for
                pictures as they come it is the first that shows a face.
            smooth: steady the landmarks with a One-Euro filter.
            fps: of pictures as they come.
            driver_face: which face of the driver, counted from the left; None for the largest.

        Raises:
            ReenactError: at once, if there is no target or an argument cannot be.
            NoFaceError: if the driver never shows a face; of pictures as they come, after the last.
            MediaError: if a file cannot be read.
            ValueError: if an array has another shape or type.
        """
        _ = self.target  # raises where there is none, before the driver is read
        check_face_number(driver_face)
        if not (fps > 0 and math.isfinite(fps)):
            raise ReenactError(f"fps must be more than 0, not {fps}")
        if isinstance(driver, Image.Image):
            driver = pixels_of(driver, "the driver's picture")
        if not isinstance(driver, (str, os.PathLike, Motion, Iterable)):
            raise ReenactError(
                f"a driver is a video, a photo, a motion file, a Motion or pictures, not {type(driver).__name__}"
            )
        if driver_face is not None and (isinstance(driver, Motion) or _is_motion_file(driver)):
            raise ReenactError("a motion holds one face; leave out driver_face")
        self.check_driver(driver)
        rest = None if neutral is None else _rest_mesh(neutral)
        if isinstance(driver, Motion):
            return self._drive_track(Track.of_motion(driver), None, rest, smooth=smooth)
        if isinstance(driver, (str, os.PathLike)):
            return self._drive_file(Path(driver), rest, smooth=smooth, face=driver_face)
        if isinstance(driver, np.ndarray) and driver.ndim == 3:
            return self._drive_track(track_of_photo(driver, face=driver_face), driver, rest, smooth=smooth)
        return self._drive_live(driver, rest, smooth=smooth, fps=fps, face=driver_face)

    def target_meshes(
        self,
        track: Track,
        driver: Path | Picture | None = None,
        *,
        start: int = 0,
        smooth: bool = False,
        rest: DriverRest | None = None,
    ) -> Iterator[Float[np.ndarray, "478 3"]]:
        """The target's landmarks for each frame of a track, from frame `start` on.

        Shots count head movement anew. While there is no face the last landmarks are held; after that they ease back.

        Args:
            track: the driver.
            driver: its file, which is read again if the transfer `needs_pictures`, or its only picture.
            start: first frame.
            smooth: steady the driver with a One-Euro filter.
            rest: the driver at rest; None to find it in the track.
        """
        rest = track_rest(track) if rest is None else rest
        retarget, heads, easing = self.retargeter(rest), shot_heads(track, rest), Easing()
        steady = track.steady_before(start, EASE_S)
        retarget.moderation.count_from(heads[max(first for first in heads if first <= steady)])
        meshes = track.meshes(steady, MeshSmoother() if smooth else None)
        pictures = repeat(None)
        if self.needs_pictures and driver is not None:
            pictures = driver_pictures(track, driver, steady)
        for number, (mesh, picture) in enumerate(zip(meshes, pictures, strict=False), steady):
            if number in heads:
                retarget.moderation.count_from(heads[number])
            time_s = float(track.pts[number] * track.time_base)
            held = None if track.seen[number] else easing.hold(time_s)
            shown = easing(retarget(mesh, picture), time_s) if held is None else held
            if number >= start:
                yield shown

    def _drive_file(
        self, driver: Path, rest: np.ndarray | None, *, smooth: bool, face: int | None
    ) -> Iterator[ResultFrame]:
        with tempfile.TemporaryDirectory(prefix="reenactor-") as folder:
            yield from self._drive_track(track_of_file(driver, Path(folder), face=face), driver, rest, smooth=smooth)

    def _drive_track(
        self, track: Track, driver: Path | Picture | None, rest: np.ndarray | None, *, smooth: bool
    ) -> Iterator[ResultFrame]:
        given = None if rest is None else DriverRest.given(rest)
        meshes = self.target_meshes(track, driver, smooth=smooth, rest=given)
        for pts, seen, mesh in zip(track.pts, track.seen, meshes, strict=True):
            yield replace(self.frame(mesh, float(pts * track.time_base)), driver_seen=bool(seen))

    def _drive_live(
        self, pictures: Iterable[Photo], rest: np.ndarray | None, *, smooth: bool, fps: float, face: int | None
    ) -> Iterator[ResultFrame]:
        seen = None
        with LiveDriver(self, smooth=smooth, rest=rest, mirror=False, face=face) as live:
            for number, picture in enumerate(pictures):
                frame = live.step(pixels_of(picture, f"picture {number + 1} of the driver"), number / fps)
                seen = seen or frame.driver_seen
                yield frame
        if seen is None:
            raise NoFaceError("the driver has no pictures; give at least one")
        if not seen:
            raise NoFaceError("the driver never showed a face; use one that is well lit, sharp and not covered")


def _is_motion_file(driver: Driver) -> bool:
    return isinstance(driver, (str, os.PathLike)) and is_motion(driver)


def _rest_mesh(picture: Photo) -> Float[np.ndarray, "478 3"]:
    with FaceFinder() as finder:
        return finder.observe(pixels_of(picture, "the neutral picture"), name="the neutral picture").landmarks.mesh
