"""reenactor: given one to eight photos of a person and a driver, make the person move like the driver.

from reenactor import Reenactor

reenactor = Reenactor()
reenactor.set_target(["person.jpg"])
for frame in reenactor.drive("driver.mp4"):
    show(frame.image)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reenactor.core import Motion, NoFaceError, ReenactError, Transfer
    from reenactor.engine import Reenactor, ResultFrame

__version__ = "0.1.0"
__all__ = ["Motion", "NoFaceError", "ReenactError", "Reenactor", "ResultFrame", "Transfer", "__version__"]

_HOMES = {
    "Motion": "reenactor.core",
    "NoFaceError": "reenactor.core",
    "ReenactError": "reenactor.core",
    "Reenactor": "reenactor.engine",
    "ResultFrame": "reenactor.engine",
    "Transfer": "reenactor.core",
}


def __getattr__(name: str) -> Any:
    # Names are fetched when first used: importing PyTorch and MediaPipe takes seconds, `reenactor --help` should not.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'reenactor' has no attribute '{name}'")
