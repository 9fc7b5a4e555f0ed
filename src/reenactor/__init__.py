"""Face reenactment: the person in one to eight photos or videos moves like a driver.

from reenactor import Reenactor, animate

animate(["me.jpg"], "talk.mp4", "out.mp4")  # files in, a file out

reenactor = Reenactor()
reenactor.set_target(["me.jpg"])
for frame in reenactor.drive("talk.mp4"):  # frame by frame
    print(frame.time_s, frame.image.shape)

Examples of everything here: docs/python.md. The names below are the public API; they are loaded when first used,
because importing PyTorch and MediaPipe takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reenactor.core.errors import CheckpointError, MediaError, NoFaceError, ReenactError
    from reenactor.core.landmarks import Motion
    from reenactor.core.options import Background, Head, Layout, Options, Runtime, Transfer
    from reenactor.engine import LiveSession, Reenactor, ResultFrame, animate, make_person
    from reenactor.media import read_person, write_person
    from reenactor.media import read_provenance as verify
    from reenactor.models import create_model

__version__ = "0.1.0"
__all__ = [
    "Background",
    "CheckpointError",
    "Head",
    "Layout",
    "LiveSession",
    "MediaError",
    "Motion",
    "NoFaceError",
    "Options",
    "ReenactError",
    "Reenactor",
    "ResultFrame",
    "Runtime",
    "Transfer",
    "__version__",
    "animate",
    "create_model",
    "make_person",
    "read_person",
    "verify",
    "write_person",
]

_MODULES = {
    "reenactor.core": ("CheckpointError", "MediaError", "Motion", "NoFaceError", "ReenactError"),
    "reenactor.core.options": ("Background", "Head", "Layout", "Options", "Runtime", "Transfer"),
    "reenactor.engine": ("LiveSession", "Reenactor", "ResultFrame", "animate", "make_person"),
    "reenactor.media": ("read_person", "write_person"),
    "reenactor.models": ("create_model",),
}


def __getattr__(name: str) -> Any:
    if name == "verify":
        return import_module("reenactor.media").read_provenance
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'reenactor' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
