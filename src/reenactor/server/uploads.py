"""Checks uploads by their content, in a process of its own, as files can be made to harm whoever reads them."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reenactor.core.errors import ReenactError
from reenactor.core.files import config_folder, is_format
from reenactor.server.confinement import Confinement
from reenactor.server.confinement import limits as resource_limits
from reenactor.server.processes import Channel, ChildProcess, ProcessDiedError
from reenactor.server.settings import Limits

_PHOTOS = "a PNG, JPEG, WebP, HEIC, AVIF, JPEG 2000, BMP or TIFF file"
_PERSON = "or a person file (.person)"
_VIDEOS = "an MP4, MOV, MKV, WebM, AVI, MPEG, WMV, FLV or GIF video, an animation"
PHOTO_SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".tif", ".heic", ".avif", ".jp2", ".j2k")
"""The values of `photo_suffix`."""
_START_S = 60
"""To start the process."""
_INSPECT_S = 20
"""Processor time to read what a file says about its origin."""
_HEADER_BYTES = 2**20
"""Most of a safetensors file's header that is looked at to tell what it is."""


@dataclass(frozen=True)
class Upload:
    """What a checked file is.

    Args:
        suffix: for its name.
        width, height: of its pictures; of a person file the first one.
        frames: 1 for a photo; of a person file its pictures.
        seconds: 0 for a photo and a person file.
    """

    suffix: str
    width: int
    height: int
    frames: int = 1
    seconds: float = 0.0

    @property
    def is_photo(self) -> bool:
        """Whether it is a still picture; a video of one frame is none."""
        return self.frames == 1 and self.suffix in PHOTO_SUFFIXES


class UploadError(ReenactError):
    """An upload is refused."""


class UploadChecker:
    """Checks uploads in a process with limited memory and time, one after the other. For one thread at a time.

    Args:
        limits: on uploads.
        hidden: files that the process must not see, besides the user's keys.
    """

    def __init__(self, limits: Limits, hidden: tuple[Path, ...] = ()) -> None:
        self._limits = limits
        confinement = Confinement((config_folder(), *hidden))
        self._process = ChildProcess("reenactor-checker", check_uploads, limits, confinement=confinement)

    def check(self, path: Path, *, what: str, driver: bool) -> Upload:
        """Decode a file from beginning to end.

        Args:
            path: of the file.
            what: its name in messages: "photo 1".
            driver: it may be a motion file, too, and no person file; besides a photo, a video or an animation.

        Raises:
            UploadError: it is of another kind, damaged, or exceeds a limit.
        """
        return Upload(**self._ask({"path": str(path), "driver": driver}, path, what))

    def inspect(self, path: Path, *, what: str) -> tuple[str, bool]:
        """What a picture or video says about its origin: a text of some lines, and whether it was tampered with.

        Raises:
            UploadError: it cannot be read.
        """
        answer = self._ask({"path": str(path), "inspect": True}, path, what)
        return answer["text"], answer["tampered"]

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        return self._process.memory_bytes()

    def close(self) -> None:
        """End the process, which has nothing to lose: a server that has just begun would wait while it starts."""
        self._process.kill()

    def _ask(self, request: dict[str, Any], path: Path, what: str) -> dict[str, Any]:
        try:
            self._process.send(request)
            # Twice the processor's time, as other processes need the processor, too.
            answer = self._process.receive(2 * self._limits.check_seconds + _START_S)
        except (ProcessDiedError, TimeoutError):
            self._process.kill()
            raise UploadError(
                f"{what} takes more memory or time to decode than is allowed; save it again in a common format, "
                "smaller or shorter"
            ) from None
        if "refused" in answer:
            raise UploadError(answer["refused"].replace(str(path), what))
        return answer


def check_uploads(channel: Channel, limits: Limits) -> None:
    """Process that answers `{"path", "driver"}` with an `Upload`, `{"path", "inspect"}` with `{"text", "tampered"}`.

    A file that is refused is answered with `{"refused"}`, a sentence.
    """
    import av  # noqa: F401  # loaded before the limit on memory counts
    from PIL import Image

    from reenactor.media import read_provenance, render_provenance

    Image.init()
    _limit_memory(limits.check_memory_mib * 2**20)
    while True:
        request = channel.receive()
        _limit_time(min(_INSPECT_S, limits.check_seconds) if "inspect" in request else limits.check_seconds)
        path = Path(request["path"])
        try:
            if "inspect" in request:
                report = read_provenance(path)
                channel.send({"text": render_provenance(report), "tampered": report.tampered})
            else:
                channel.send(asdict(examine(path, limits, driver=request["driver"])))
        except MemoryError:
            # What is left of this process's memory may be fragmented; the next upload gets a new process.
            return
        except ReenactError as error:
            if isinstance(error.__cause__, MemoryError):
                return
            channel.send({"refused": str(error)})
        except Exception:  # decoders raise almost anything for files made to break them
            channel.send({"refused": f"{path} is damaged and cannot be decoded; save or download it again"})


def _limit_memory(extra_bytes: int) -> None:
    """Allow so much more memory than is used now, and no writing of files."""
    resource = resource_limits()
    if resource is None:
        return
    import psutil

    most = psutil.Process().memory_info().vms + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: int) -> None:
    """Allow so many more seconds of processor time."""
    resource = resource_limits()
    if resource is None:
        return
    used = math.ceil(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def examine(path: Path, limits: Limits, *, driver: bool) -> Upload:
    """Decode a file from beginning to end; see `UploadChecker.check`.

    Raises:
        ReenactError: it is of another kind, damaged, or exceeds a limit.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise UploadError(f"{path} is empty; send a file with content")
    if suffix := photo_suffix(start):
        return _picture(path, suffix, limits)
    if suffix := video_suffix(start):
        return _video(path, suffix, limits)
    is_safetensors = start[8:9] == b"{"
    if not driver:
        if is_safetensors and _says_person(path):
            return _person(path, limits)
        raise UploadError(f"{path} is not a photo or a video; send {_PHOTOS}, {_VIDEOS}, {_PERSON}")
    if is_safetensors and not _says_person(path):
        return _motion(path, limits)
    raise UploadError(f"{path} is no driver that can be read; send {_VIDEOS}, a photo, or a .motion file")


def photo_suffix(start: bytes) -> str | None:
    """The suffix of a still picture from its first 512 bytes; None if it is none."""
    from reenactor.media.images import is_heic

    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return ".webp"
    if is_heic(start):
        return ".heic"
    if start[4:8] == b"ftyp" and (b"avif" in start[8:64] or b"avis" in start[8:64]):
        return ".avif"
    signatures = {
        b"\x89PNG\r\n\x1a\n": ".png",
        b"\xff\xd8\xff": ".jpg",
        b"BM": ".bmp",
        b"II*\0": ".tif",
        b"MM\0*": ".tif",
        b"\0\0\0\x0cjP  \r\n\x87\n": ".jp2",
        b"\xff\x4f\xff\x51": ".j2k",
    }
    return next((suffix for signature, suffix in signatures.items() if start.startswith(signature)), None)


def video_suffix(start: bytes) -> str | None:
    """The suffix of a video from its first 512 bytes; None if it is none.

    Playlists (HLS, DASH, concat), which FFmpeg would follow to other files of the server, are none of these.
    """
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return ".mp4"
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        return ".avi"
    # A transport stream has a 0x47 every 188 bytes; a camera's has a time of 4 bytes before each.
    if any(start[first::step][:2] == b"\x47\x47" for first, step in ((0, 188), (4, 192))):
        return ".ts"
    signatures = {
        b"\x1a\x45\xdf\xa3": ".mkv",
        b"GIF87a": ".gif",
        b"GIF89a": ".gif",
        b"FLV\x01": ".flv",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ".wmv",
        b"\0\0\1\xba": ".mpg",
        b"\0\0\1\xb3": ".mpg",
    }
    return next((suffix for signature, suffix in signatures.items() if start.startswith(signature)), None)


_FFMPEG_NAMES = {
    ".mp4": "mov",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mkv": "matroska",
    ".gif": "gif",
    ".flv": "flv",
    ".wmv": "asf",
    ".mpg": "mpeg",
}


def _picture(path: Path, suffix: str, limits: Limits) -> Upload:
    """A photo or an animation."""
    from reenactor.media.images import animation_format, open_image, read_image

    with open_image(path) as image:
        size = image.size
    _check_pixels(path, size, limits.photo_megapixels)
    height, width = read_image(path).shape[:2]
    if animation_format(path) is not None:
        return _animation(path, suffix, limits)
    return Upload(suffix, width, height)


def _animation(path: Path, suffix: str, limits: Limits) -> Upload:
    from reenactor.media import open_reader

    with open_reader(path) as reader:
        _check_pixels(path, reader.size, limits.video_megapixels)
        _check_length(path, 0.0, reader.frame_count or 1, limits)
        frames, seconds = 0, 0.0
        for frames, frame in enumerate(reader, start=1):
            seconds = float(frame.pts * reader.time_base)
            _check_length(path, seconds, frames, limits)
        return Upload(suffix, *reader.size, frames, seconds)


def _video(path: Path, suffix: str, limits: Limits) -> Upload:
    import av
    from av.error import FFmpegError

    from reenactor.media import VideoReader

    with VideoReader(path) as reader:
        width, height = reader.size
        _check_pixels(path, reader.size, limits.video_megapixels)
        _check_length(path, reader.duration_s or 0.0, reader.frame_count or 1, limits)
    frames, seconds = 0, 0.0
    # Headers can lie, so every frame is decoded once.
    with av.open(f"file:{path}", container_options={"protocol_whitelist": "file"}) as container:
        if not container.format.name.startswith(_FFMPEG_NAMES[suffix]):
            raise UploadError(f"{path} is not what its first bytes say; convert it to an MP4 file (H.264)")
        stream = container.streams.video[0]
        first: float | None = None
        try:
            for frame in container.decode(stream):
                frames += 1
                _check_pixels(path, (frame.width, frame.height), limits.video_megapixels)
                if frame.time is not None:
                    first = frame.time if first is None else first
                    seconds = max(seconds, frame.time - first)
                _check_length(path, seconds, frames, limits)
        except MemoryError:  # some of FFmpeg's errors are of this kind, too
            raise
        except FFmpegError:
            pass  # damaged from here on: what came before is used, as everywhere in reenactor
    if frames == 0:
        raise UploadError(f"no frame of {path} can be decoded; convert it to an MP4 file (H.264)")
    return Upload(suffix, width, height, frames, seconds)


def _motion(path: Path, limits: Limits) -> Upload:
    from reenactor.media import read_motion

    motion = read_motion(path)
    seconds = float(motion.end_pts * motion.time_base)
    _check_length(path, seconds, len(motion), limits)
    if motion.pts[0] < 0:
        raise UploadError(f"{path} begins before its first frame; extract it again")
    width, height = motion.picture_size
    return Upload(".motion", width, height, len(motion), seconds)


def _says_person(path: Path) -> bool:
    """Whether the header of a safetensors file has the format of a person file."""
    with path.open("rb") as file, suppress(ValueError, LookupError, TypeError, RecursionError):
        length = min(int.from_bytes(file.read(8), "little"), _HEADER_BYTES)
        return is_format(json.loads(file.read(length))["__metadata__"]["format"], "person")
    return False


def _person(path: Path, limits: Limits) -> Upload:
    from reenactor.media import read_person

    pictures = read_person(path).pictures
    sizes = []
    for one in pictures:  # none has more than PERSON_SIDE_PX a side
        height, width = one.pixels().shape[:2]
        _check_pixels(path, (width, height), limits.photo_megapixels)
        sizes.append((width, height))
    width, height = sizes[0]
    return Upload(".person", width, height, len(sizes))


def _check_pixels(path: Path, size: tuple[int, int], most_megapixels: float) -> None:
    if size[0] * size[1] > most_megapixels * 1e6:
        raise UploadError(
            f"{path} has {size[0]} x {size[1]} pixels, more than the {most_megapixels:g} megapixels that are allowed; "
            "scale it down"
        )


def _check_length(path: Path, seconds: float, frames: int, limits: Limits) -> None:
    if not 0 <= seconds <= limits.seconds:
        raise UploadError(f"{path} lasts longer than the {limits.seconds:g} s that are allowed; cut it")
    if frames > limits.frames:
        raise UploadError(f"{path} has more than the {limits.frames} frames that are allowed; cut it")
