"""How samples are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from reenactor.core import ReenactError

_SOFTWARE = version("reenactor")


@dataclass(frozen=True)
class Settings:
    """How samples are made. All of it decides what the bytes are.

    Args:
        size: side of the crops, pixels; a multiple of 32.
        compact: fewer frames a second, more compression: for packs that travel.
    """

    size: int = 256
    compact: bool = False

    def __post_init__(self) -> None:
        if not 64 <= self.size <= 1024 or self.size % 32:
            raise ReenactError(f"the size of the crops must be a multiple of 32 from 64 to 1024, not {self.size}")

    @property
    def max_fps(self) -> float | None:
        """Clips with more frames a second are thinned out to at most this."""
        return 12.5 if self.compact else None

    @property
    def crf(self) -> float:
        """Of x264: 42 dB between source and crop at 18, 40 dB at 22 (256 px, the project's data pack)."""
        return 22 if self.compact else 18

    @property
    def jpeg_quality(self) -> int:
        """Of photos."""
        return 90 if self.compact else 93

    @property
    def steps_per_px(self) -> int:
        """Of landmarks: half a step is 0.031 or 0.045 pixels."""
        return 11 if self.compact else 16

    def facts(self) -> dict[str, Any]:
        """For the manifest, and to tell one pack from another."""
        derived = {name: getattr(self, name) for name in ("max_fps", "crf", "jpeg_quality", "steps_per_px")}
        return asdict(self) | derived | {"software": _SOFTWARE}
