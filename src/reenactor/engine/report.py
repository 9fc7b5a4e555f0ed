"""What a finished job tells its user, on one screen."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Report:
    """Facts about one finished job.

    Args:
        output: the file made.
        frames: in it.
        duration_s: its length.
        seconds: time this run took.
        frames_made: frames this run drew (fewer than `frames` when it continued an interrupted one).
        other_people: the photos, by number and name, that may show someone else than the first.
        gaps_s: stretches in which the driver showed no face, (start, end).
        truncated: the driver ended in damaged data.
        audio: the driver's sound was copied.
        signed_by: who signed the provenance manifest; None without one.
        peak_memory_mib: largest resident size of the process so far.
    """

    output: Path
    frames: int
    duration_s: float
    seconds: float
    frames_made: int
    other_people: list[tuple[int, str]] = field(default_factory=list)
    gaps_s: list[tuple[float, float]] = field(default_factory=list)
    truncated: bool = False
    audio: bool = False
    signed_by: str | None = None
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
        if self.other_people:
            photos = ", ".join(f"photo {number} ({name})" for number, name in self.other_people)
            lines.append(f"  {photos} may show another person")
        if self.gaps_s:
            times = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in self.gaps_s[:6])
            more = f" and {len(self.gaps_s) - 6} more" if len(self.gaps_s) > 6 else ""
            lines.append(f"  no face in the driver at {times}{more}: the last pose was held")
        if self.truncated:
            lines.append("  the driver ends in damaged data: the result ends there too")
        if self.signed_by is None:
            lines.append("  not signed: nothing in the file says that it is synthetic")
        else:
            lines.append(f"  signed as synthetic ({self.signed_by}); check with: reenactor verify {self.output}")
        return "\n".join(lines)


def peak_memory_mib() -> float:
    """Largest resident size of this process so far."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
