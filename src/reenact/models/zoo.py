"""Every model by its name."""

from __future__ import annotations

from reenact.core import ReenactError
from reenact.models.contract import ReenactmentModel
from reenact.models.warp import Warp

ZOO: dict[str, type[ReenactmentModel]] = {
    "warp": Warp,
}


def create_model(name: str) -> ReenactmentModel:
    """A ready model.

    Raises:
        ReenactError: if the zoo has no such entry.
    """
    if name not in ZOO:
        raise ReenactError(f"there is no model '{name}'; choose one of: {', '.join(ZOO)}")
    return ZOO[name]()
