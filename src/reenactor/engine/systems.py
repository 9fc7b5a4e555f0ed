"""Published systems by name: a model, and how it takes over somebody else's movement."""

from __future__ import annotations

from dataclasses import dataclass

from reenactor.core import Transfer
from reenactor.models import METHODS


@dataclass(frozen=True)
class System:
    """What draws, and from which landmarks.

    Args:
        model: one of `models.METHODS`.
        transfer: used where no other is asked for.
        about: in a line.
    """

    model: str
    transfer: Transfer = Transfer.RELATIVE
    about: str = ""


SYSTEMS: dict[str, System] = {name: System(name) for name in METHODS} | {
    "marionette-lt": System("marionette", Transfer.TRANSFORMER, "MarioNETte+LT (2020): with the landmark transformer."),
}
"""Every model is one by itself."""


def system(name: str) -> System:
    """The system of that name; a name that no system has is taken for a model's, and refused where that is built."""
    return SYSTEMS.get(name, System(name))
