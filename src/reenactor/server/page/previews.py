"""What the page needs of the engine at once, in processes of their own: faces, edits by hand, origins of pictures.

Pictures come back as JPEG files in base64.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reenactor.core.errors import NoFaceError, ReenactError
from reenactor.server.processes import Channel, ChildProcess, ProcessDiedError
from reenactor.server.records import JobOptions
from reenactor.server.settings import Settings
from reenactor.server.worker import (
    ReportedProgress,
    StoppedError,
    encode_jpeg,
    options_of,
    set_threads,
    without_paths,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8

    from reenactor.engine import Reenactor
    from reenactor.face.perception import FaceFinder
    from reenactor.server.page.origins import Origins

_SHOWN_PX = 900
_CROP_PX = 128
_LOOKED_AT = 24
"""Frames of a video in which a face is looked for."""
_KEPT_EDITED, _KEPT_ORIGINS = 2, 4
"""Encoded persons and finished comparisons that a process remembers, for all visitors together."""
_ANSWER_S = 120.0
_POLL_S = 0.25


@dataclass(frozen=True)
class PhotoFaces:
    """The faces in one photo, or in a frame of one video, or the face in the first picture of a person file.

    Args:
        width, height: of the shown picture, in pixels.
        picture: JPEG in base64.
        boxes: (left, top, right, bottom) of each face from left to right, in the shown picture's pixels.
        crops: JPEG in base64 of each face.
        largest: number of the largest face, from 1.
        about: lines about what a person file shows; empty for others.
    """

    width: int
    height: int
    picture: str
    boxes: list[list[int]]
    crops: list[str]
    largest: int
    about: list[str]


class Previews:
    """Asks the processes, in order. Comparisons have a process of their own, as they can take minutes.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        confined = settings.confinement()
        self._processes = {
            name: (
                ChildProcess(f"reenactor-{name}", answer_previews, settings, confinement=confined),
                ThreadPoolExecutor(1, name),
            )
            for name in ("preview", "compare")
        }

    def start(self) -> None:
        """Start the process for the first visitor."""
        self._processes["preview"][0].send({})

    def close(self) -> None:
        """Kill the processes."""
        for process, thread in self._processes.values():
            process.kill()
            thread.shutdown(cancel_futures=True)

    async def faces(self, photos: list[Path], names: list[str]) -> list[PhotoFaces]:
        """Find the faces in each photo, in one frame of each video, and in each person file.

        Args:
            photos: files of the server.
            names: of the photos in messages.

        Raises:
            NoFaceError: one shows none.
        """
        answer = await self._ask("preview", {"do": "faces", "photos": [str(photo) for photo in photos], "names": names})
        return [PhotoFaces(**one) for one in answer["photos"]]

    async def example(self, output: Path) -> None:
        """Write the photo that ships as a PNG file."""
        await self._ask("preview", {"do": "example", "output": str(output)})

    async def edited(self, photos: list[Path], options: JobOptions, values: list[float]) -> str:
        """Draw a face as the sliders say.

        Args:
            photos: files of the target.
            options: of which `model`, `face`, `layout` and `max_side` count.
            values: of `edits.Edits`.

        Raises:
            ReenactError: the photos cannot be used.
        """
        files = [str(photo) for photo in photos]
        request = {"do": "edited", "photos": files, "options": asdict(options), "values": values}
        return (await self._ask("preview", request))["picture"]

    async def motion(self, values: list[float], *, still: bool) -> bytes:
        """A motion file that does what the sliders say: one frame, or a movement from neutral."""
        return base64.b64decode(
            (await self._ask("preview", {"do": "motion", "values": values, "still": still}))["motion"]
        )

    async def edits_of(self, motion: Path) -> list[float]:
        """The sliders nearest to a motion file.

        Raises:
            ReenactError: it cannot be read, or shows no face.
        """
        return (await self._ask("preview", {"do": "edits_of", "motion": str(motion)}))["values"]

    async def origins(
        self, request: dict[str, Any], reported: Callable[[str, int, int | None], bool]
    ) -> list[float] | None:
        """Prepare to show where compared pictures come from.

        Args:
            request: `token` (names it from now on), `photos`, `face`, `driver`, `variants` (name -> options), and
                `folder` (for the driver's landmarks; deleted when the comparison is forgotten).
            reported: called with what is being done and how much of it; False stops the work.

        Returns:
            The times of the driver's frames in seconds; None if none of the variants can tell.

        Raises:
            ReenactError: a photo, driver or model cannot be used.
        """
        return (await self._ask("compare", {"do": "origins", **request}, reported))["times_s"]

    async def origins_at(self, token: str, time_s: float) -> str:
        """Where the pictures nearest to a time come from, as HTML.

        Raises:
            ReenactError: the comparison is forgotten.
        """
        return (await self._ask("compare", {"do": "moment", "token": token, "time_s": time_s}))["html"]

    async def _ask(
        self, name: str, request: dict[str, Any], reported: Callable[[str, int, int | None], bool] | None = None
    ) -> dict[str, Any]:
        process, thread = self._processes[name]
        answer = await asyncio.get_running_loop().run_in_executor(thread, _exchange, process, request, reported)
        if "error" in answer:
            raise ReenactError(answer["error"])
        return answer


def _exchange(
    process: ChildProcess, request: dict[str, Any], reported: Callable[[str, int, int | None], bool] | None
) -> dict[str, Any]:
    try:
        process.send(request)
        return process.receive(_ANSWER_S) if reported is None else _followed(process, reported)
    except (ProcessDiedError, TimeoutError):
        process.kill()
        return {"error": "the work on this broke off; try again, or try other files"}


def _followed(process: ChildProcess, reported: Callable[[str, int, int | None], bool]) -> dict[str, Any]:
    going = True
    last = ("", 0, None)
    while True:
        try:
            answer = process.receive(_POLL_S)
        except TimeoutError:
            answer = None
        if answer is not None and "stage" not in answer:
            return answer
        if answer is not None:
            last = answer["stage"], answer["done"], answer["total"]
        if going and not reported(*last):
            going = False
            process.send({})


def answer_previews(channel: Channel, settings: Settings) -> None:
    """Process that answers the requests of `Previews`, and nothing to a message without `do`."""
    set_threads(settings)
    previews = _Previews(channel, settings)
    while True:
        request = channel.receive()
        if "do" not in request:
            continue
        try:
            channel.send(getattr(previews, request.pop("do"))(**request))
        except StoppedError:
            channel.send({"error": "stopped"})
        except ReenactError as error:
            photos = [Path(photo) for photo in request.get("photos", ())]
            names = dict(zip(photos, request.get("names", ()), strict=False))
            names |= {Path(request["driver"]): "the driver"} if "driver" in request else {}
            channel.send({"error": without_paths(error, photos, names)})
        except Exception as error:
            print(f"reenactor: a preview failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            channel.send({"error": "a file made the program fail; try another"})


class _Previews:
    """The methods answer the requests of the same name."""

    def __init__(self, channel: Channel, settings: Settings) -> None:
        import reenactor.engine  # noqa: F401  # now, not when the first visitor waits for it

        self._channel, self._settings = channel, settings
        self._finder: FaceFinder | None = None
        self._edited: OrderedDict[tuple[Any, ...], Reenactor] = OrderedDict()
        self._origins: OrderedDict[str, tuple[Origins, str]] = OrderedDict()

    def faces(self, photos: list[str], names: list[str]) -> dict[str, Any]:
        return {"photos": [self._faces(Path(photo), name) for photo, name in zip(photos, names, strict=True)]}

    def _faces(self, photo: Path, name: str) -> dict[str, Any]:
        import cv2
        import numpy as np

        from reenactor.engine.person import described
        from reenactor.media import is_person, read_person

        person = read_person(photo) if is_person(photo) else None
        if person is None:
            (picture, meshes), about = self._found(photo, name), []
        else:
            first = person.pictures[0]
            picture, meshes, about = first.pixels(), [first.mesh_px], described(person)
        crops = [base64.b64encode(encode_jpeg(_face_crop(picture, mesh, _CROP_PX))).decode() for mesh in meshes]
        shrink = min(1.0, _SHOWN_PX / max(picture.shape[:2]))
        size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
        shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if shrink < 1 else picture
        corners = [np.concatenate([mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)]) * shrink for mesh in meshes]
        sides = [float(np.ptp(mesh[:, :2], axis=0).max()) for mesh in meshes]
        return {
            "width": size[0],
            "height": size[1],
            "picture": base64.b64encode(encode_jpeg(shown)).decode(),
            "boxes": [tuple(round(float(value)) for value in one) for one in corners],
            "crops": crops,
            "largest": int(np.argmax(sides)) + 1,
            "about": about,
        }

    def _found(self, photo: Path, name: str) -> tuple[UInt8[np.ndarray, "h w 3"], list[Float[np.ndarray, "478 3"]]]:
        """A photo, or the first of some frames of a video that shows a face, and the landmarks of the faces in it."""
        from reenactor.face.perception import FaceFinder

        self._finder = self._finder or FaceFinder()
        with closing(_pictures(photo)) as pictures:
            for picture in pictures:
                if meshes := [one.landmarks.mesh for one in self._finder.observe_all(picture)]:
                    return picture, meshes
        raise NoFaceError(f"no face found in {name}: use one where a face is well lit, sharp and not covered")

    def example(self, output: str) -> dict[str, Any]:
        from reenactor.engine.shipped import demo_photo
        from reenactor.media import write_image

        write_image(output, demo_photo())
        return {}

    def edited(self, photos: list[str], options: dict[str, Any], values: list[float]) -> dict[str, Any]:
        from reenactor.engine import Reenactor
        from reenactor.face.retarget import DriverRest
        from reenactor.server.page.edits import clipped, driver_mesh, rest_mesh

        chosen = options_of(options, self._settings)
        key = (*photos, chosen.face, chosen.model, chosen.max_side)
        reenactor = self._edited.get(key)
        if reenactor is None:
            reenactor = Reenactor.of(chosen)
            reenactor.set_target(list(photos), face=chosen.face)
            self._edited[key] = reenactor
            while len(self._edited) > _KEPT_EDITED:
                self._edited.popitem(last=False)
        mesh = reenactor.retargeter(DriverRest.given(rest_mesh()))(driver_mesh(clipped(values)))
        frame = reenactor.frame(mesh, 0.0)
        picture = frame.face if chosen.layout == "crop" else frame.image
        return {"picture": base64.b64encode(encode_jpeg(picture)).decode()}

    def motion(self, values: list[float], still: bool) -> dict[str, Any]:
        from reenactor.media import write_motion
        from reenactor.server.page.edits import clipped, movement, still_motion

        with tempfile.TemporaryDirectory(prefix="reenactor-") as folder:
            path = Path(folder) / "edit.motion"
            write_motion(path, (still_motion if still else movement)(clipped(values)))
            return {"motion": base64.b64encode(path.read_bytes()).decode()}

    def edits_of(self, motion: str) -> dict[str, Any]:
        from reenactor.media import read_motion
        from reenactor.server.page.edits import edits_of

        found = read_motion(motion)
        if not found.seen.any():
            raise ReenactError("no frame of this motion file shows a face; choose another")
        return {"values": astuple(edits_of(found))}

    def origins(
        self,
        token: str,
        photos: list[str],
        face: int | None,
        variants: dict[str, dict[str, Any]],
        driver: str,
        folder: str,
    ) -> dict[str, Any]:
        from reenactor.engine import Reenactor
        from reenactor.server.page.origins import origins_of

        reenactors = [(name, Reenactor.of(options_of(given, self._settings))) for name, given in variants.items()]
        paths = [Path(photo) for photo in photos]
        try:
            found = origins_of(reenactors, paths, face, Path(driver), Path(folder), ReportedProgress(self._channel))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if found is None:
            return {"times_s": None}
        self._origins[token] = found, folder
        while len(self._origins) > _KEPT_ORIGINS:
            shutil.rmtree(self._origins.popitem(last=False)[1][1], ignore_errors=True)
        return {"times_s": found.times_s.tolist()}

    def moment(self, token: str, time_s: float) -> dict[str, Any]:
        if token not in self._origins:
            raise ReenactError("this comparison is no longer here; press Compare again")
        return {"html": self._origins[token][0].at(time_s)}


def _pictures(photo: Path) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    """The photo, or some frames of the video, in order."""
    from reenactor.engine.target_pictures import LONGEST_S, is_target_video
    from reenactor.media import open_reader, read_image

    if not is_target_video(photo):
        yield read_image(photo)
        return
    with open_reader(photo, precise=False) as reader:
        last = max(1, round(LONGEST_S * reader.average_rate))
        step = -(-min(last, reader.frame_count or last) // _LOOKED_AT)
        yield from (frame.image for frame in islice(reader.frames(), 0, last, step))


def _face_crop(
    picture: UInt8[np.ndarray, "h w 3"], mesh: Float[np.ndarray, "478 3"], side_px: int
) -> UInt8[np.ndarray, "s s 3"]:
    from reenactor.face.geometry import face_crop

    return face_crop(mesh, size=side_px, picture_px=(picture.shape[1], picture.shape[0])).cut(picture)
