"""A live result in a video file that is readable at every moment, and what results state about their origin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from reenactor import __version__
from reenactor.core import MediaError, Options
from reenactor.core.files import sha256
from reenactor.media import VideoWriter, join_segments, read_provenance
from reenactor.media.certificates import Credentials, own_credentials
from reenactor.media.person_file import target_files
from reenactor.media.provenance import Claim, SourceFile, Synthesis, sign, supports
from reenactor.media.video_writer import check_suffix
from reenactor.models import ReenactmentModel

_CLOCK = Fraction(1, 1000)
_RATE_HINT = Fraction(30)


class Recording:
    """Frames as they come, into a video file.

    The file plays while it grows; if the program is killed, only about the last half second is lost. `close` turns it
    into an ordinary file and signs it.

    Args:
        path: .mp4 or .mov, or .mkv unsigned; must not exist yet.
        model: the one that draws the frames.
        inputs: the target's files, named in the signature.
        provenance: sign the result as synthetic.
        credentials: who signs; the user's own self-made certificate if not given.

    Raises:
        MediaError: the file cannot be written, or exists already.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        model: ReenactmentModel,
        inputs: Iterable[SourceFile] = (),
        provenance: bool = True,
        credentials: Credentials | None = None,
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.claim = claim_of(model, self.path.name, inputs)
        self._credentials = (credentials or own_credentials()) if provenance else None
        self._writer: VideoWriter | None = None
        self._start_s = 0.0
        self._last_pts = -1
        check_suffix(self.path)
        if self.path.exists():
            raise MediaError(f"there is a file {self.path} already; choose another name")
        if not self.path.parent.is_dir():
            raise MediaError(f"there is no folder {self.path.parent} for the recording; make it first")
        if provenance and not supports(self.path):
            raise MediaError(
                f"{self.path.name} cannot carry a signature that says it is synthetic: "
                "choose .mp4 or .mov, or record without provenance"
            )

    def write(self, image: UInt8[np.ndarray, "h w c"], time_s: float) -> None:
        """Append a frame; it is left out if less than a millisecond after the last one."""
        if self._writer is None:
            size = (image.shape[1], image.shape[0])
            self._writer = VideoWriter(
                self.path, size=size, time_base=_CLOCK, rate_hint=_RATE_HINT, growing=True, alpha=image.shape[2] == 4
            )
            self._start_s = time_s
        pts = round((time_s - self._start_s) / float(_CLOCK))
        if pts > self._last_pts:
            self._writer.write(image, pts)
            self._last_pts = pts
            self.frames += 1

    def close(self) -> bool:
        """Finish the file.

        Returns:
            Whether there is a file: not if no frame was written.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return False
        writer.close()
        # In one piece again, with its index in front: players can seek, and a signature needs no more memory.
        join_segments([self.path], self.path)
        if self._credentials is not None:
            sign(self.path, self.path, self.claim, self._credentials)
        return True


def claim_of(
    model: ReenactmentModel, title: str, inputs: Iterable[SourceFile], options: Mapping[str, str] | None = None
) -> Claim:
    """What the provenance manifest of a file states.

    Args:
        model: the one that drew it.
        title: the file's name.
        inputs: the files it was made from.
        options: see `stated_options`; None if they are not known.
    """
    return Claim(
        title=title,
        model=model.name,
        model_version=model.version,
        inputs=tuple(inputs),
        synthesis=Synthesis.TRAINED if model.trained else Synthesis.UNTRAINED,
        options=options,
    )


def stated_options(options: Options) -> dict[str, str]:
    """What a manifest states of the options: those that shape the result and are not the defaults, as texts.

    A folder of weights is stated as the SHA-256 of its `config.json`, which lists the hashes of the weights.
    """
    stated = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if value == one.default or one.name in ("provenance", "runtime", "device"):
            continue
        if isinstance(value, Path):
            config = value / "config.json"
            value = sha256(config) if config.is_file() else "missing"
        stated[one.name] = str(value)
    return stated


def other_origin(output: Path, targets: Sequence[Path], driver: Path, options: Options) -> str | None:
    """How an earlier result differs from what would be made now, as its manifest says; None if it does not.

    Args:
        output: the earlier result.
        targets, driver, options: of now.

    Raises:
        MediaError: a file cannot be read.
    """
    if not supports(output):
        return "unsigned: options unknown"
    try:
        report = read_provenance(output)
    except MediaError:
        return "it cannot be read: delete it to make it again"
    if not report.signed:
        return "unsigned: options unknown"
    if report.tampered:
        return "changed after it was signed"
    if report.options is None:
        return "its signature names no options"
    made = []
    sources = [*_target_files(*((path, path.stat().st_mtime_ns) for path in targets))]
    sources.append(_driver_file(driver, driver.stat().st_mtime_ns))
    if [one.sha256 for one in sources] != [one.sha256 for one in report.inputs]:
        made.append("other inputs")
    now = stated_options(options)
    if other := [name for name in {**now, **report.options} if now.get(name) != report.options.get(name)]:
        made.append(f"other options ({', '.join(other)})")
    if report.software != f"reenactor {__version__}":
        made.append(str(report.software))
    return f"made with {' and '.join(made)}" if made else None


@lru_cache
def _target_files(*targets: tuple[Path, int]) -> list[SourceFile]:
    """Hashed once for a whole batch; the times are for the cache."""
    return target_files([path for path, _ in targets])


@lru_cache
def _driver_file(driver: Path, mtime_ns: int) -> SourceFile:
    return SourceFile.of("driver", driver)
