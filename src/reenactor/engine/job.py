"""One animation from files to a file: resumable, signed, never half-written.

While a job runs, the folder `<output>.reenactor-job` keeps the driver's landmarks and the finished segments of the
result, with seals (`job_folder.py`). A stopped job continues from it; a finished job removes it.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from av.error import FFmpegError
from jaxtyping import Float, UInt8

from reenactor import __version__
from reenactor.core import Layout, MediaError, Options, ReenactError
from reenactor.core.files import sha256
from reenactor.core.progress import Progress, Silent
from reenactor.engine.composite import draw_landmarks, side_by_side
from reenactor.engine.cutout import HOLDS_ALPHA, STILL_HOLDS_ALPHA
from reenactor.engine.job_folder import Seals, job_folder
from reenactor.engine.memory import frugal, peak_memory_mib
from reenactor.engine.notices import Notice
from reenactor.engine.portrait import GPU_BATCH, UsedVideo, device_of
from reenactor.engine.prefetch import prefetch
from reenactor.engine.recording import claim_of, stated_options
from reenactor.engine.reenactor import Reenactor
from reenactor.engine.runtimes import ExportedModel
from reenactor.engine.track import Gap, Track, TrackFolder, track_of_motion, track_of_photo
from reenactor.face.perception.photo_check import Finding
from reenactor.media import (
    VideoWriter,
    is_image,
    is_still,
    join_segments,
    open_reader,
    open_writer,
    read_image,
    write_image,
)
from reenactor.media.animation import ANIMATIONS
from reenactor.media.certificates import Credentials, own_credentials, own_secret
from reenactor.media.motion_file import is_motion, read_motion
from reenactor.media.person_file import target_files
from reenactor.media.provenance import Claim, SourceFile, sign, supports
from reenactor.media.tracks import CarriedTracks
from reenactor.media.video_writer import CONTAINERS, check_holds_alpha
from reenactor.models import ReenactmentModel

Mesh = Float[np.ndarray, "478 3"]
Picture = UInt8[np.ndarray, "_h _w _c"]
Item = TypeVar("Item")

SEGMENT_FRAMES = 250
_MOST_THREADS = 4
"""That draw at the same time; a frame waits in memory until those before it are written."""
_STILLS = (".png", ".jpg", ".jpeg", ".webp")
_STILL_RATE = 25
_GAPS_SHOWN = 6
_EASE_FRAMES = 25
"""A photo as driver of a video: one second to get there, one second to stay."""


@dataclass(frozen=True)
class Report:
    """Facts about one finished job.

    Args:
        output: the file made.
        frames: in it.
        duration_s: its length.
        seconds: time this run took.
        frames_made: frames this run drew (fewer than `frames` when it continued an interrupted one).
        warnings: what about the photos and the driver will make the result look wrong.
        photos: names of the photos.
        videos: what was taken of those that are videos.
        gaps: stretches in which the driver showed no whole face.
        truncated: the driver ended in damaged data.
        audio: the driver's sound is in the output.
        left_out: what of the driver's sound and subtitles is not in the output, and why.
        signed_by: who signed the provenance manifest; None without one.
        claim: what the manifest says, or would say.
        peak_memory_mib: largest resident size of the process so far.
    """

    output: Path
    frames: int
    duration_s: float
    seconds: float
    frames_made: int
    warnings: list[Notice] = field(default_factory=list)
    photos: list[str] = field(default_factory=list)
    videos: tuple[UsedVideo, ...] = ()
    gaps: list[Gap] = field(default_factory=list)
    truncated: bool = False
    audio: bool = False
    left_out: list[str] = field(default_factory=list)
    signed_by: str | None = None
    claim: Claim | None = None
    peak_memory_mib: float = 0.0

    def text(self) -> str:
        """A few lines for a person."""
        frames = "1 frame" if self.frames == 1 else f"{self.frames} frames, {self.duration_s:.2f} s"
        lines = [f"{self.output}: {frames}{', with sound' if self.audio else ''}"]
        speed = self.frames_made / self.seconds if self.seconds > 0 else 0.0
        continued = "" if self.frames_made == self.frames else f" ({self.frames_made} new frames)"
        lines.append(
            f"  took {self.seconds:.1f} s{continued}, {speed:.1f} frames/s, peak memory {self.peak_memory_mib:.0f} MiB"
        )
        lines += [f"  {one.text(self.photos)}" for one in self.videos]
        lines += [f"  {one.text(self.photos, options=True)}" for one in self.warnings]
        lines += [f"  {gap.text()}" for gap in self.gaps[:_GAPS_SHOWN]]
        if len(self.gaps) > _GAPS_SHOWN:
            lines.append(f"  and in {len(self.gaps) - _GAPS_SHOWN} more stretches")
        if self.truncated:
            lines.append("  the driver ends in damaged data: the result ends there too")
        lines += [f"  {one}" for one in self.left_out]
        if self.signed_by is None:
            lines.append("  not signed: nothing in the file says that it is synthetic")
        else:
            lines.append(f"  signed as synthetic ({self.signed_by}); check with: reenactor verify {self.output}")
        return "\n".join(lines)


def animate(
    targets: Sequence[str | os.PathLike[str]],
    driver: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options | None = None,
    *,
    credentials: Credentials | None = None,
    secret: bytes | None = None,
    progress: Progress | None = None,
) -> Report:
    """Make `targets` (photos, videos or person files of one person) move like `driver`, in a new file.

    Args:
        targets: one to eight photos, videos or person files; the first is the picture that moves, or holds it.
        driver: a video or an animation, a photo or a motion file.
        output: .mp4, .mov, .mkv, .webm, .gif or .webp; .png, .jpg or .webp if the driver is a photo. With `alpha`
            .mov, .webm or .webp; .png or .webp if the driver is a photo.
        options: how; None for the defaults.
        credentials: who signs; the user's own self-made certificate if not given.
        secret: key of the seals on what is left when the job is stopped; the user's own if not given.
        progress: receives the progress.

    Raises:
        ReenactError: one sentence that says what is wrong. Nothing is left under the output's name, and what was
            already there is kept. The job's folder stays only where trying again can help (a full disk).
    """
    for one in (driver, output, *([] if isinstance(targets, (str, os.PathLike)) else targets)):
        if not isinstance(one, (str, os.PathLike)):
            raise ReenactError(f"animate takes paths of files, not {type(one).__name__}; see Reenactor for pictures")
    if isinstance(targets, (str, os.PathLike)):
        raise ReenactError("animate takes a list of photos, and one was given; write animate([photo], ...)")
    try:
        paths = [Path(target) for target in targets], Path(driver), Path(output)
        with frugal():
            return _Job(*paths, options or Options(), credentials, secret, progress or Silent()).run()
    except (OSError, FFmpegError) as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else (error.strerror or str(error) or type(error).__name__)
        raise MediaError(f"cannot write {output}: {reason.lower()}; make room or choose another folder") from error


class _Job:
    """The steps of `animate`, sharing its arguments."""

    def __init__(
        self,
        targets: list[Path],
        driver: Path,
        output: Path,
        options: Options,
        credentials: Credentials | None,
        secret: bytes | None,
        progress: Progress,
    ) -> None:
        self.targets, self.driver, self.output = targets, driver, output
        self.options, self.credentials, self.secret, self.progress = options, credentials, secret, progress
        self.signed_by = "the certificate given"
        self.photo_drives = is_still(driver)
        self.still = is_image(output) and (self.photo_drives or _is_still_motion(driver))
        self.folder = output.with_name(output.name + ".reenactor-job")
        self.started = time.monotonic()
        self.frames_made = 0

    def run(self) -> Report:
        has_video = self._check()
        self.seen = self._stamps()
        inputs = self._inputs()
        reenactor = Reenactor.of(self.options)
        reenactor.check_driver(self.driver)
        if self.options.provenance and self.credentials is None:
            self.credentials, self.signed_by = own_credentials(), "self-made certificate"
        track = self._given_track()
        reenactor.set_target(self.targets, face=self.options.face, still=self.options.still, progress=self.progress)
        with job_folder(self.folder, self.output):
            facts = self._facts(inputs, reenactor.model.version)
            self.seals = Seals(self.secret or own_secret(), facts, self._check_unchanged)
            try:
                return self._work(reenactor, track, inputs, has_video=has_video)
            except ReenactError as error:
                if not isinstance(error.__cause__, OSError):
                    self._remove_folder()
                raise

    def _work(self, reenactor: Reenactor, track: Track | None, inputs: list[SourceFile], *, has_video: bool) -> Report:
        truncated = False
        if track is None:
            track, truncated = self._track_of_video()
        draft = self.folder / f"draft{self.output.suffix.lower()}"
        carried = CarriedTracks()
        if self.still:
            with self._pictures(reenactor, track, 0) as pictures:
                write_image(draft, next(pictures))
            self.frames_made = 1
        elif self.output.suffix.lower() in ANIMATIONS:
            self._write_animation(reenactor, track, draft)
        else:
            carried = self._write_video(reenactor, track, draft, has_video=has_video)
        self._check_unchanged()
        claim = claim_of(reenactor.model, self.output.name, inputs, stated_options(self.options))
        self._deliver(draft, claim)
        self._remove_folder()
        pts, end_pts, time_base = self._times(track)
        warnings = list(reenactor.target.warnings)
        if track.alternatives > 1 and self.options.driver_face is None:
            warnings.append(Notice(Finding.SEVERAL_FACES, 0, track.alternatives))
        return Report(
            output=self.output,
            frames=1 if self.still else len(pts),
            duration_s=0.0 if self.still else float(end_pts * time_base),
            seconds=time.monotonic() - self.started,
            frames_made=self.frames_made,
            warnings=warnings,
            photos=[path.name for path in self.targets],
            videos=reenactor.target.videos,
            gaps=track.gaps(),
            truncated=truncated,
            audio=carried.audio,
            left_out=list(carried.left_out),
            signed_by=self.signed_by if self.options.provenance else None,
            claim=claim,
            peak_memory_mib=peak_memory_mib(),
        )

    def _check(self) -> bool:
        """Refuse early what cannot work; returns whether the driver is a video."""
        if self.options.driver_face is not None and is_motion(self.driver):
            raise ReenactError(
                f"{self.driver} holds one face, so that there is none to choose; leave out --driver-face, or give "
                "'reenactor motion extract' the face's number"
            )
        for path in [*self.targets, self.driver]:
            if not path.exists():
                raise MediaError(f"there is no file {path}; check the name")
            if path.is_dir():
                raise MediaError(f"{path} is a folder; give a file")
            if self.output.exists() and path.samefile(self.output):
                raise MediaError(f"the output {self.output} is also an input; choose another name")
        if not self.output.parent.is_dir():
            raise MediaError(f"there is no folder {self.output.parent} for the output; make it first")
        if self.output.is_dir():
            raise MediaError(f"the output {self.output} is a folder; give the name of a file")
        suffix = self.output.suffix.lower()
        fitting = _STILLS if self.still else (*CONTAINERS, *ANIMATIONS)
        if self.options.alpha and not self.still and suffix in _STILLS:
            fitting = HOLDS_ALPHA
        if suffix not in fitting:
            stills = "" if self.still else " (.png or .jpg with a photo or a motion of one frame as driver)"
            raise MediaError(f"cannot write {self.output}: the name must end in {', '.join(fitting)}{stills}")
        if self.options.alpha:
            check_holds_alpha(self.output, STILL_HOLDS_ALPHA if self.still else HOLDS_ALPHA)
        if self.options.provenance and not supports(self.output):
            raise MediaError(
                f"{self.output.name} cannot carry a signature that says it is synthetic: "
                f"choose {'.webp' if self.options.alpha else '.mp4'} or .mov, or pass --no-provenance"
            )
        return not self.photo_drives and not is_motion(self.driver)

    def _inputs(self) -> list[SourceFile]:
        return [*target_files(self.targets), SourceFile.of("driver", self.driver)]

    def _stamps(self) -> list[tuple[int, int, int]]:
        """Sizes and times of the inputs; no program can set the time of the last change (`ctime`) back."""
        found = [path.stat() for path in (*self.targets, self.driver)]
        return [(one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found]

    def _check_unchanged(self) -> None:
        """What is signed must be what was used: the files are read several times, and stay the same meanwhile."""
        with suppress(OSError):
            if self._stamps() == self.seen:
                return
        raise MediaError(f"a photo or the driver of {self.output} was changed or removed meanwhile; try again")

    def _facts(self, inputs: list[SourceFile], model_version: str) -> dict[str, object]:
        """What identifies the job; what an earlier run left of another one does not count."""
        # It lists the hashes of the weights, which were checked when they were read.
        transformer = self.options.transformer and self.options.transformer / "config.json"
        return {
            "inputs": [asdict(one) for one in inputs],
            "options": asdict(self.options),
            "software": __version__,
            "model_version": model_version,
            "transformer": sha256(transformer) if transformer and transformer.is_file() else None,
        }

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _given_track(self) -> Track | None:
        """The landmarks of a driver that is no video; opens one that is, to refuse early what cannot be read."""
        if is_motion(self.driver):
            return track_of_motion(self.driver)
        if self.photo_drives:
            return track_of_photo(self.driver, face=self.options.driver_face)
        open_reader(self.driver).close()
        return None

    def _track_of_video(self) -> tuple[Track, bool]:
        """The driver's landmarks, and whether its file ends in damaged data."""
        folder = TrackFolder(self.folder, self.driver, face=self.options.driver_face, seals=self.seals)
        self.progress.start("reading the driver", folder.done, None)
        try:
            return folder.fill(self.progress.step), folder.truncated
        finally:
            self.progress.end()

    def _times(self, track: Track) -> tuple[np.ndarray, int, Fraction]:
        """Presentation times of the result: the driver's, or those of a photo's two seconds."""
        if len(track) > 1 or not self.photo_drives:
            return track.pts, track.end_pts, track.time_base
        frames = 2 * _EASE_FRAMES
        return np.arange(frames), frames, Fraction(1, _STILL_RATE)

    def _meshes(self, reenactor: Reenactor, track: Track, start: int) -> Iterator[Mesh]:
        if not self.photo_drives or self.still:
            yield from reenactor.target_meshes(track, self.driver, start=start, smooth=self.options.smooth)
            return
        rest, goal = reenactor.target.mesh_px, next(reenactor.target_meshes(track, self.driver))
        for i in range(start, 2 * _EASE_FRAMES):
            t = min(1.0, i / _EASE_FRAMES)
            yield rest + np.float32(t * t * (3 - 2 * t)) * (goal - rest)

    @contextmanager
    def _pictures(self, reenactor: Reenactor, track: Track, start: int) -> Iterator[Iterator[Picture]]:
        """The result's frames from number `start` on, drawn ahead in threads."""
        target = reenactor.target.crop.cut(reenactor.target.photo)

        def draw(frames: list[tuple[Mesh, Picture | None]]) -> list[Picture]:
            faces = reenactor.draw_many(np.stack([mesh for mesh, _ in frames]))
            if self.options.layout is Layout.PHOTO:
                return [reenactor.paste(face) for face in faces]
            return [
                face if driver is None else side_by_side([target, driver, face], len(face))
                for (_, driver), face in zip(frames, faces, strict=True)
            ]

        with (
            _drawing_threads(reenactor.model) as (threads, batch),
            prefetch(_batches(self._frames(reenactor, track, start), batch), draw, threads=threads) as drawn,
        ):
            yield chain.from_iterable(drawn)

    def _frames(self, reenactor: Reenactor, track: Track, start: int) -> Iterator[tuple[Mesh, Picture | None]]:
        """Of each frame the target landmarks, and for a grid the driver's picture."""
        drivers = self._driver_pictures(reenactor, track, start) if self.options.layout is Layout.GRID else None
        for mesh in self._meshes(reenactor, track, start):
            yield mesh, None if drivers is None else next(drivers)

    def _driver_pictures(self, reenactor: Reenactor, track: Track, start: int) -> Iterator[Picture]:
        if is_motion(self.driver):
            side = reenactor.target.crop.size
            for mesh in track.meshes(start):
                yield draw_landmarks(mesh, track.picture_size, side)
        elif self.photo_drives:
            picture = read_image(self.driver)
            while True:
                yield picture
        else:
            with open_reader(self.driver) as reader:
                for frame in reader.frames(start):
                    yield frame.image

    def _write_animation(self, reenactor: Reenactor, track: Track, draft: Path) -> None:
        pts, end_pts, time_base = self._times(track)
        rate = _rate(pts, end_pts, time_base)
        self.progress.start("animating", 0, len(pts))
        try:
            with self._pictures(reenactor, track, 0) as pictures:
                first = next(pictures)
                size = (first.shape[1], first.shape[0])
                alpha = self.options.alpha
                with open_writer(draft, size=size, time_base=time_base, rate_hint=rate, alpha=alpha) as writer:
                    for i, picture in enumerate(chain([first], pictures)):
                        writer.write(picture, int(pts[i]))
                        self.progress.step(i + 1, len(pts))
                    writer.close(end_pts)
        finally:
            self.progress.end()
        self.frames_made = len(pts)

    def _write_video(self, reenactor: Reenactor, track: Track, draft: Path, *, has_video: bool) -> CarriedTracks:
        pts, end_pts, time_base = self._times(track)
        starts = range(0, len(pts), SEGMENT_FRAMES)
        segments = [self.folder / f"segment{i:05d}{draft.suffix}" for i in range(len(starts))]
        done = next((i for i, path in enumerate(segments) if not self.seals.holds(path)), len(segments))
        first_new = min(done * SEGMENT_FRAMES, len(pts))
        self.progress.start("animating", first_new, len(pts))
        rate = _rate(pts, end_pts, time_base)
        try:
            with self._pictures(reenactor, track, first_new) as pictures:
                for number in range(done, len(segments)):
                    start, stop = starts[number], min(starts[number] + SEGMENT_FRAMES, len(pts))
                    first = next(pictures)
                    size = (first.shape[1], first.shape[0])
                    with VideoWriter(
                        segments[number], size=size, time_base=time_base, rate_hint=rate, alpha=self.options.alpha
                    ) as writer:
                        for i, picture in enumerate(chain([first], islice(pictures, stop - start - 1)), start):
                            writer.write(picture, int(pts[i]))
                            self.frames_made += 1
                            self.progress.step(i + 1, len(pts))
                        writer.close(int(pts[stop]) if stop < len(pts) else end_pts)
                    self.seals.seal(segments[number])
        finally:
            self.progress.end()
        if not all(map(self.seals.holds, segments)):
            raise MediaError(f"the folder {self.folder} was changed meanwhile; try again")
        return join_segments(segments, draft, tracks_from=self.driver if has_video else None)

    def _deliver(self, draft: Path, claim: Claim) -> None:
        if not self.options.provenance:
            draft.replace(self.output)
            return
        assert self.credentials is not None
        # Signed in place first: a file cut short by a power failure must not have the output's name.
        sign(draft, draft, claim, self.credentials)
        draft.replace(self.output)


def _is_still_motion(driver: Path) -> bool:
    return is_motion(driver) and driver.is_file() and len(read_motion(driver)) == 1


def _rate(pts: np.ndarray, end_pts: int, time_base: Fraction) -> Fraction:
    """Mean frames per second, of numbers small enough for a video's header."""
    return (Fraction(len(pts)) / (int(end_pts) * time_base)).limit_denominator(100_000)


@contextmanager
def _drawing_threads(model: ReenactmentModel) -> Iterator[tuple[int, int]]:
    """How many threads draw at a time, and how many frames each of them draws together.

    On a GPU one thread draws batches. On the CPU each thread draws one frame, and PyTorch's own threads are divided
    among them meanwhile: a frame for each core takes less work than a frame shared by all cores, which wait for one
    another; two of PyTorch's threads on busy cores can take fifty times as long as one.
    """
    on_gpu = device_of(model).type != "cpu"
    # Other runtimes take one frame at a time and use threads of their own.
    threads = 1 if on_gpu or isinstance(model, ExportedModel) else min(_MOST_THREADS, os.cpu_count() or 1)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // threads))
    try:
        yield threads, GPU_BATCH if on_gpu else 1
    finally:
        torch.set_num_threads(before)


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch
