"""The Python interface: choose a person by photos, then draw frame after frame as a driver moves."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Union

import numpy as np
from jaxtyping import Float, UInt8

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
    head_with,
)
from reenactor.engine.cache import FaceCache, faces_folder
from reenactor.engine.composite import Compositor, StillBackground
from reenactor.engine.loading import load_model, load_transformer, system
from reenactor.engine.notices import Notice, notices
from reenactor.engine.portrait import STANDARD_SIZE, Portrait, Target, other_people, shrunk
from reenactor.engine.track import Track, driver_pictures, shot_heads, track_of_file, track_rest
from reenactor.face.geometry import Crop, face_crop, mean_face
from reenactor.face.geometry.layers import smoothstep
from reenactor.face.perception import FaceFinder, FaceTracker, MeshSmoother
from reenactor.face.perception.observe import check_picture
from reenactor.face.perception.photo_check import Finding, checked_face
from reenactor.face.retarget import DriverRest, PartsRetargeter, Retargeter
from reenactor.face.retarget.transformer import TransformerRetargeter
from reenactor.media import read_image
from reenactor.media.motion_file import is_motion
from reenactor.models import ReenactmentModel

Photo = Union[str, "os.PathLike[str]", UInt8[np.ndarray, "_h _w 3"]]
Driver = Union[str, "os.PathLike[str]", Motion, Iterable[UInt8[np.ndarray, "_h _w 3"]]]

Mesh = Float[np.ndarray, "478 3"]

MAX_TARGETS = 8
_LARGEST_CROP = 1024
_EASE_S = 0.3
"""How long the target of a live driver takes from its pose before a cut to the one after it."""


@dataclass(frozen=True)
class Retarget:
    """Carries a driver's landmarks over to the target: `retarget(driver_mesh, picture=None)`.

    Args:
        carry: (driver's mesh, driver's picture or None) -> the target's landmarks, crop pixels; see
            `Reenactor.needs_pictures`.
        count_from: makes head movement count from this mesh of the driver.
    """

    carry: Callable[[Mesh, UInt8[np.ndarray, "_h _w 3"] | None], Mesh]
    count_from: Callable[[Mesh], None]

    def __call__(self, driver_mesh: Mesh, picture: UInt8[np.ndarray, "_h _w 3"] | None = None) -> Mesh:
        """The target's landmarks (478, 3), crop pixels."""
        return self.carry(driver_mesh, picture)


@dataclass(frozen=True)
class ResultFrame:
    """One frame of the result.

    Args:
        image: (H, W, 3) the photo with the moving face in it.
        face: (s, s, 3) the face crop alone.
        mesh_px: (478, 3) the target landmarks, crop pixels.
        time_s: when the frame is shown.
        driver_seen: the driver's face was seen; if not, the last pose is held.
    """

    image: UInt8[np.ndarray, "h w 3"]
    face: UInt8[np.ndarray, "s s 3"]
    mesh_px: Float[np.ndarray, "478 3"]
    time_s: float
    driver_seen: bool = True


class Reenactor:
    """Animates the person in one to eight photos, frame by frame.

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
        keep_expression: bool = False,
        size: int | None = None,
        max_side: int = 1920,
        weights: str | os.PathLike[str] | None = None,
        transformer: str | os.PathLike[str] | None = None,
        runtime: Runtime | str = Runtime.TORCH,
        background: Background | str = Background.STILL,
        device: str = "auto",
        cache: bool = True,
    ) -> None:
        chosen = system(model if isinstance(model, str) else model.name)
        self.transfer = chosen.transfer if transfer is None else Transfer(transfer)
        options = Options(
            model=chosen.model,
            weights=None if weights is None else Path(weights),
            transfer=self.transfer,
            head=None if head is None else Head(head),
            keep_expression=keep_expression,
            transformer=None if transformer is None else Path(transformer),
            size=size,
            max_side=max_side,
            background=Background(background),
            runtime=Runtime(runtime),
            device=device,
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
        self._transformer = load_transformer(transformer) if self.transfer is Transfer.TRANSFORMER else None
        self.needs_pictures = self._transformer is not None and self._transformer.config.needs_pictures
        self._target_faces: np.ndarray | None = None
        self._options = options
        self._still: StillBackground | None = None
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
            keep_expression=options.keep_expression,
            size=options.size,
            max_side=options.max_side,
            weights=options.weights,
            transformer=options.transformer,
            runtime=options.runtime,
            background=options.background,
            device=options.device,
        )

    @property
    def target(self) -> Target:
        """The person set by `set_target`."""
        if self._target is None:
            raise ReenactError("there is no target yet; call set_target([photo]) first")
        return self._target

    def set_target(self, photos: Sequence[Photo], *, face: int | None = None) -> Target:
        """Choose the person: one to eight photos; the first is the one that is animated.

        Photos of which the result will look wrong are not refused; `Target.warnings` says why.

        Args:
            photos: paths, or (H, W, 3) uint8 RGB arrays.
            face: which face of each photo, counted from the left; None for the largest.

        Raises:
            NoFaceError: if a photo shows no face (or fewer than `face`).
            MediaError: if a photo cannot be read.
        """
        if isinstance(photos, (str, os.PathLike, np.ndarray)):
            raise ReenactError("set_target takes a list of photos, and one photo was given; write set_target([photo])")
        if not isinstance(photos, Sequence):
            raise ReenactError(f"set_target takes a list of photos, and {type(photos).__name__} was given")
        if not 1 <= len(photos) <= MAX_TARGETS:
            raise ReenactError(f"{len(photos)} photos were given; give one to {MAX_TARGETS}, all of one person")
        for number, photo in enumerate(photos, start=1):
            if not isinstance(photo, (str, os.PathLike, np.ndarray)):
                raise ReenactError(f"photo {number} must be a path or an array of pixels, not {type(photo).__name__}")
        most = self.model.needs.max_targets
        pictures, crops, meshes, faces, seen, warnings = [], [], [], [], [], []
        with ExitStack() as opened:
            finder: FaceFinder | None = None
            for number, photo in enumerate(photos[:most], start=1):
                name = f"photo {number}" if isinstance(photo, np.ndarray) else str(photo)
                picture = photo if isinstance(photo, np.ndarray) else read_image(photo)
                check_picture(picture)
                picture = shrunk(picture, self._options.max_side)
                found = self._cache.find(picture, face)
                if found is None:
                    finder = finder or opened.enter_context(FaceFinder())
                    found = checked_face(finder, picture, face=face, name=name)
                    self._cache.keep(picture, face, found)
                mesh = found.mesh
                warnings += notices(number, found)
                faces.append(Landmarks(mesh))
                crop = self._crop(mesh, picture, crops[0].size if crops else None)
                pictures.append(picture)
                crops.append(crop)
                meshes.append(crop.to_crop(mesh))
                if self._transformer is not None and self.needs_pictures:
                    seen.append(self._transformer.crop(picture, mesh))
        cuts = np.stack([crop.cut(picture) for crop, picture in zip(crops, pictures, strict=True)])
        mesh_px = np.stack(meshes)
        portrait = Portrait(self.model, cuts, mesh_px)
        others = other_people(pictures, faces) if len(pictures) > 1 else ()
        warnings += [Notice(Finding.OTHER_PERSON, number) for number in others]
        self._target = Target(pictures[0], crops[0], mesh_px, portrait, tuple(warnings))
        self._target_faces = np.stack(seen) if seen else None
        self._compositor = Compositor(pictures[0], crops[0])
        self._still = StillBackground(cuts[0], mesh_px[0]) if self._options.background is Background.STILL else None
        return self._target

    def retargeter(self, rest: DriverRest, *, learn: bool = False) -> Retarget:
        """Carries a driver's landmarks over to the target.

        Args:
            rest: the driver at rest.
            learn: what it is like at rest is learned from the landmarks as they come, with the transfer PARTS.
        """
        meshes, transformer = self.target.all_mesh_px, self._transformer
        head = head_with(self.transfer, self._options.head)
        if transformer is None:
            if self.transfer is Transfer.PARTS:
                keep = self._options.keep_expression
                plain = PartsRetargeter(meshes, rest, head=head, keep_expression=keep, learn=learn)
            else:
                plain = Retargeter(meshes[0], rest.mesh_px, self.transfer, head)
            return Retarget(lambda driver_mesh, picture: plain(driver_mesh), plain.count_from)
        carry = TransformerRetargeter(transformer, meshes, rest.mesh_px, self._target_faces, head)

        def retarget(driver_mesh: Mesh, picture: UInt8[np.ndarray, "_h _w 3"] | None) -> Mesh:
            if picture is None or not self.needs_pictures:
                return carry(driver_mesh)
            return carry(driver_mesh, transformer.crop(picture, driver_mesh))

        return Retarget(retarget, carry.count_from)

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

    def draw(self, mesh_px: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The target's face crop with the given landmarks (crop pixels)."""
        return self.draw_many(mesh_px[None])[0]

    def draw_many(self, mesh_px: Float[np.ndarray, "b 478 3"]) -> list[UInt8[np.ndarray, "s s 3"]]:
        """Face crops with the landmarks of each of B frames, drawn together: what a GPU needs to be fast."""
        drawn = self.target.portrait.draw(mesh_px)
        if self._still is None:
            return list(drawn)
        return [self._still.apply(face, mesh) for face, mesh in zip(drawn, mesh_px, strict=True)]

    def paste(self, face: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "h w 3"]:
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
        neutral: UInt8[np.ndarray, "h w 3"] | None = None,
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
        neutral: UInt8[np.ndarray, "h w 3"] | None = None,
        smooth: bool = False,
        fps: float = 25.0,
        driver_face: int | None = None,
    ) -> Iterator[ResultFrame]:
        """Move the target like the driver, frame by frame; memory does not grow with the driver's length.

        Args:
            driver: a video, photo or motion file; a `Motion`; or pictures as they come (a webcam, say).
            neutral: a picture of the driver at rest. By default it is found among the driver's frames; for
                pictures as they come it is the first that shows a face.
            smooth: steady the landmarks with a One-Euro filter.
            fps: of pictures as they come.
            driver_face: which face of the driver, counted from the left; None for the largest.

        Raises:
            ReenactError: at once, if there is no target or an argument cannot be.
            NoFaceError: if the driver never shows a face.
            MediaError: if a file cannot be read.
        """
        _ = self.target  # raises where there is none, before the driver is read
        check_face_number(driver_face)
        if not (fps > 0 and math.isfinite(fps)):
            raise ReenactError(f"fps must be more than 0, not {fps}")
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
        return self._drive_live(driver, rest, smooth=smooth, fps=fps, face=driver_face)

    def target_meshes(
        self,
        track: Track,
        driver: Path | None = None,
        *,
        start: int = 0,
        smooth: bool = False,
        rest: DriverRest | None = None,
    ) -> Iterator[Float[np.ndarray, "478 3"]]:
        """The target's landmarks for each frame of a track, from frame `start` on; shots count head movement anew.

        Args:
            track: the driver.
            driver: its file, which is read again if the transfer `needs_pictures`.
            start: first frame.
            smooth: steady the driver with a One-Euro filter.
            rest: the driver at rest; None to find it in the track.
        """
        rest = track_rest(track) if rest is None else rest
        retarget, heads = self.retargeter(rest), shot_heads(track, rest)
        retarget.count_from(heads[max(first for first in heads if first <= start)])
        meshes = track.meshes(start, MeshSmoother() if smooth else None)
        pictures = repeat(None)
        if self.needs_pictures and driver is not None:
            pictures = driver_pictures(track, driver, start)
        for number, (mesh, picture) in enumerate(zip(meshes, pictures, strict=False), start):
            if number in heads:
                retarget.count_from(heads[number])
            yield retarget(mesh, picture)

    def _drive_file(
        self, driver: Path, rest: np.ndarray | None, *, smooth: bool, face: int | None
    ) -> Iterator[ResultFrame]:
        with tempfile.TemporaryDirectory(prefix="reenactor-") as folder:
            yield from self._drive_track(track_of_file(driver, Path(folder), face=face), driver, rest, smooth=smooth)

    def _drive_track(
        self, track: Track, driver: Path | None, rest: np.ndarray | None, *, smooth: bool
    ) -> Iterator[ResultFrame]:
        given = None if rest is None else DriverRest.given(rest)
        meshes = self.target_meshes(track, driver, smooth=smooth, rest=given)
        for pts, mesh in zip(track.pts, meshes, strict=True):
            yield self.frame(mesh, float(pts * track.time_base))

    def _drive_live(
        self, pictures: Iterable[np.ndarray], rest: np.ndarray | None, *, smooth: bool, fps: float, face: int | None
    ) -> Iterator[ResultFrame]:
        with LiveDriver(self, smooth=smooth, rest=rest, mirror=False, face=face) as live:
            for number, picture in enumerate(pictures):
                yield live.step(picture, number / fps)
            if not live.ready:
                raise NoFaceError("the driver never showed a face; use one that is well lit, sharp and not covered")

    def _crop(
        self, mesh: Float[np.ndarray, "478 3"], picture: UInt8[np.ndarray, "h w 3"], size_of_first: int | None
    ) -> Crop:
        needs = self.model.needs
        picture_px = (picture.shape[1], picture.shape[0])
        size = size_of_first or self._options.size
        if size is None and needs.any_resolution:
            own = face_crop(mesh, scale=needs.crop_scale, picture_px=picture_px)
            if STANDARD_SIZE <= own.size <= _LARGEST_CROP:
                return own
            size = STANDARD_SIZE if own.size < STANDARD_SIZE else _LARGEST_CROP
        size = size or self.model.resolution or STANDARD_SIZE
        return face_crop(mesh, size=size, scale=needs.crop_scale, picture_px=picture_px)


class LiveDriver:
    """Moves the target like the face in each picture; made by `Reenactor.live`, for one thread at a time.

    Head movement counts from the first picture with a face, until `set_neutral` is called. What the driver's face is
    like at rest is learned as it moves (with the transfer PARTS; for others it is that of the first picture). While no
    face is seen the target holds its pose; before the first face it looks as in the photo. After a cut head movement
    counts from the next face, and the target eases there. Use `with`, or `close` it.

    Args:
        reenactor: with its target set.
        smooth: steady the landmarks with a One-Euro filter.
        rest: the driver at rest, in the driver's pixels; None for the first face seen.
        mirror: move like a mirror image, as people expect of a camera that faces them.
        face: which face of the driver, counted from the left; None for the largest.

    Attributes:
        mirror: may be changed at any time.
    """

    def __init__(
        self, reenactor: Reenactor, *, smooth: bool, rest: Mesh | None, mirror: bool, face: int | None
    ) -> None:
        check_face_number(face)
        self.mirror = mirror
        self._reenactor = reenactor
        self._resting = reenactor.target.mesh_px
        self._smoother = MeshSmoother() if smooth else None
        self._rest = rest
        self._rest_given = rest is not None
        self._rest_pending = rest is None
        self._retargeters: dict[bool, Retarget] = {}
        self._head_from = rest
        self._eased_from: tuple[Mesh, float] | None = None
        self._last: ResultFrame | None = None
        self._last_time_s = -np.inf
        self._tracker = FaceTracker(face=face)

    @property
    def ready(self) -> bool:
        """Whether the driver at rest is known: a face was seen, or a neutral picture given."""
        return self._rest is not None

    def set_neutral(self) -> None:
        """Take the next face that is seen, whoever it is, as the driver at rest; any thread may call this."""
        self._rest_given = self._rest_pending = True

    def step(self, picture: UInt8[np.ndarray, "h w 3"], time_s: float) -> ResultFrame:
        """The target for one picture of the driver (RGB).

        A result that repeats the last one, because no face is seen, shares its arrays.

        Raises:
            ValueError: the time is not later than the one before, or this is no picture.
        """
        check_picture(picture)
        if not time_s > self._last_time_s:
            raise ValueError(f"times must increase: {time_s} s after {self._last_time_s} s")
        if self._rest_pending:
            self._tracker.forget_identity()
        seen = self._tracker.track(picture)
        self._last_time_s = time_s
        if seen is None:
            if self._smoother is not None:
                self._smoother.reset()
            self._last = self._last or self._reenactor.frame(self._resting, time_s)
            self._last = replace(self._last, time_s=time_s, driver_seen=False)
            return self._last
        mesh = seen.landmarks.mesh
        if self._smoother is not None:
            if self._tracker.cut:
                self._smoother.reset()
            mesh = self._smoother(mesh, time_s)
        if self._rest_pending:
            self._rest_pending = False
            self._rest = self._head_from = mesh
            self._retargeters.clear()
        elif self._tracker.cut and self._last is not None:
            self._head_from = mesh
            self._eased_from = self._last.mesh_px, self._last.time_s
        self._last = self._reenactor.frame(self._eased(self._target_mesh(mesh, picture), time_s), time_s)
        return self._last

    def _target_mesh(self, mesh: Mesh, picture: UInt8[np.ndarray, "h w 3"]) -> Mesh:
        assert self._rest is not None
        assert self._head_from is not None
        mirror, width = self.mirror, picture.shape[1]
        new = mirror not in self._retargeters
        if new:
            mesh_px = mirrored(self._rest, width) if mirror else self._rest
            rest = DriverRest.given(mesh_px) if self._rest_given else DriverRest.of_frame(mesh_px)
            self._retargeters[mirror] = self._reenactor.retargeter(rest, learn=True)
        if new or self._tracker.cut:
            for mirror_of, retarget in self._retargeters.items():
                retarget.count_from(mirrored(self._head_from, width) if mirror_of else self._head_from)
        seen = (mirrored(mesh, width), picture[:, ::-1]) if mirror else (mesh, picture)
        return self._retargeters[mirror](*seen)

    def _eased(self, mesh: Mesh, time_s: float) -> Mesh:
        """The target's landmarks, on the way from those before a cut."""
        if self._eased_from is None:
            return mesh
        before, began_s = self._eased_from
        way = float(smoothstep(time_s - began_s, 0, _EASE_S))
        if way == 1:
            self._eased_from = None
        return before + np.float32(way) * (mesh - before)

    def close(self) -> None:
        """Free the networks."""
        self._tracker.close()

    def __enter__(self) -> LiveDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def mirrored(mesh_px: Float[np.ndarray, "478 3"], width: int) -> Float[np.ndarray, "478 3"]:
    """The landmarks as they would be in the mirrored picture."""
    mesh = mesh_px[mean_face().mirror].copy()
    mesh[:, 0] = width - 1 - mesh[:, 0]
    return mesh


def _is_motion_file(driver: Driver) -> bool:
    return isinstance(driver, (str, os.PathLike)) and is_motion(driver)


def _rest_mesh(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "478 3"]:
    with FaceFinder() as finder:
        return finder.observe(picture, name="the neutral picture").landmarks.mesh
