"""What the tabs share: the settings, a folder for the time the page is served, and each visitor's work."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reenactor.core import Layout, Options, ReenactError, Transfer
from reenactor.core.progress import Progress
from reenactor.engine import Reenactor
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.media import Credentials, load_credentials, write_image
from reenactor.models import METHODS
from reenactor.nn.checkpoint import shipped_checkpoint
from reenactor.server.page.faces import Looker
from reenactor.server.page.settings import WebSettings
from reenactor.server.page.words import sentence_of
from reenactor.server.page.work import Work

_Result = TypeVar("_Result")
LIVE_SIDE_PX = 720
EDIT_SIDE_PX = 1024


@dataclass(frozen=True)
class Person:
    """Whom a visitor chose.

    Args:
        photos: paths.
        face: number from the left; None for the largest.
    """

    photos: tuple[str, ...]
    face: int | None = None

    @staticmethod
    def of(photos: Sequence[str] | None, face: int | None) -> Person:
        """From the page.

        Raises:
            ReenactError: no photo was chosen.
        """
        if not photos:
            raise ReenactError("there is no photo yet; add one at the top of the page, or take the example")
        return Person(tuple(photos), face or None)


class Desk:
    """Shared by the tabs; `close` it, and everything that visitors sent or made is deleted.

    Args:
        settings: checked.
    """

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self.credentials: Credentials | None = None
        if settings.sign_cert is not None and settings.sign_key is not None:
            self.credentials = load_credentials(settings.sign_cert, settings.sign_key)
        self.folder = Path(tempfile.mkdtemp(prefix="reenactor-web-")).resolve()
        self.looker = Looker()
        self.motions = shipped_motions()
        self._works: dict[tuple[str, str], Work[Any]] = {}
        self._kept: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self.drawing = threading.Lock()
        """Held while a single picture is drawn; several at a time would only wait for one another."""

    def models(self) -> dict[str, str]:
        """Names of the models whose weights are there -> what to call them."""
        known = {}
        for name, method in METHODS.items():
            if not method.model.trained:
                known[name] = f"{name} (no training needed)"
            elif name in self.settings.weights or shipped_checkpoint(name) is not None:
                known[name] = name
        return known

    def missing_models(self) -> list[str]:
        """Names of the models without weights."""
        return [name for name in METHODS if name not in self.models()]

    def example_photo(self) -> Path:
        """The photo that ships, as a file."""
        path = self.folder / "example" / "astronaut.png"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_image(path, demo_photo())
        return path

    def new_file(self, visitor: str, name: str) -> Path:
        """Where a visitor's result goes."""
        folder = self.folder / "results" / visitor / secrets.token_hex(4)
        folder.mkdir(parents=True)
        return folder / name

    def options(self, model: str, transfer: str, layout: str, *, face: int | None, **more: Any) -> Options:
        """For `animate`."""
        return Options(
            model=model,
            weights=self.settings.weights.get(model),
            transfer=Transfer(transfer),
            layout=Layout(layout),
            face=face,
            **more,
        )

    def reenactor(self, visitor: str, use: str, person: Person, model: str, max_side: int) -> Reenactor:
        """With its target set; the last one of a visitor is kept for each use."""
        key = (person, model, max_side)
        kept = self.kept(visitor, use)
        if kept is not None and kept[0] == key:
            return kept[1]
        made = Reenactor(model, weights=self.settings.weights.get(model), max_side=max_side)
        made.set_target(list(person.photos), face=person.face)
        self.keep(visitor, use, (key, made))
        return made

    def keep(self, visitor: str, use: str, what: object) -> None:
        """Something of a visitor's until the page is closed, in place of the last for that use."""
        with self._lock:
            self._kept[visitor, use] = what

    def kept(self, visitor: str, use: str) -> Any:
        """What was kept; None if there is nothing."""
        with self._lock:
            return self._kept.get((visitor, use))

    def begin(self, visitor: str, tab: str, job: Callable[[Progress], _Result]) -> Work[_Result]:
        """Start long work; what the visitor still has running in that tab is stopped."""
        self.cancel(visitor, tab)
        work = Work(job)
        with self._lock:
            self._works[visitor, tab] = work
        return work

    def cancel(self, visitor: str, tab: str) -> None:
        """Stop long work, if there is any."""
        with self._lock:
            work = self._works.pop((visitor, tab), None)
        if work is not None:
            work.cancel()

    def leave(self, visitor: str) -> None:
        """A visitor closed the page."""
        with self._lock:
            tabs = [tab for who, tab in self._works if who == visitor]
            self._kept = {key: one for key, one in self._kept.items() if key[0] != visitor}
        for tab in tabs:
            self.cancel(visitor, tab)
        shutil.rmtree(self.folder / "results" / visitor, ignore_errors=True)

    def sentence(self, error: BaseException) -> str:
        """What to show for an error."""
        return sentence_of(error, self.folder)

    def close(self) -> None:
        """Stop everything and delete all files."""
        for visitor, tab in list(self._works):
            self.cancel(visitor, tab)
        self.looker.close()
        shutil.rmtree(self.folder, ignore_errors=True)
