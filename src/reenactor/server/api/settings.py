"""How a server is set up."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL
from reenactor.server.api.keys import Keys


@dataclass(frozen=True)
class Limits:
    """What one upload may be.

    Args:
        photo_mib, driver_mib: size of a file.
        photo_megapixels: of a photo, and of a photo as driver.
        video_megapixels: of a video's frame; 9 admits 4K.
        seconds, frames: length of a driver.
        check_memory_mib, check_seconds: what looking at one upload may take, the seconds on one core.
    """

    photo_mib: int = 20
    driver_mib: int = 200
    photo_megapixels: float = 40.0
    video_megapixels: float = 9.0
    seconds: float = 120.0
    frames: int = 7200
    check_memory_mib: int = 1024
    check_seconds: int = 60


@dataclass(frozen=True)
class Settings:
    """How a server is set up; defaults as on the command line.

    Args:
        data: folder of everything that is kept.
        host, port: where to listen; port 0 takes a free one.
        keys: who may ask; without keys anybody who reaches the loopback address may.
        workers: processes that animate.
        threads: of PyTorch in each of them; None for PyTorch's choice.
        queue: jobs that may wait.
        live: people who may drive live at the same time, a process each.
        rate_per_minute: requests a minute and key.
        keep_hours: how long targets are kept after they were last used, and jobs after they ended.
        job_minutes: how long one job may take.
        model, weights: what draws.
        sign_cert, sign_key: what results are signed with; None for a self-made certificate.
        provenance: sign results as synthetic.
        cors: origins of web pages that may use the API from a browser.
        limits: on uploads.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Keys = field(default_factory=Keys)
    workers: int = 1
    threads: int | None = None
    queue: int = 32
    live: int = 1
    rate_per_minute: int = 600
    keep_hours: float = 24.0
    job_minutes: float = 60.0
    model: str = DEFAULT_MODEL
    weights: Path | None = None
    sign_cert: Path | None = None
    sign_key: Path | None = None
    provenance: bool = True
    cors: tuple[str, ...] = ()
    limits: Limits = Limits()

    def check(self) -> None:
        """Refuse what cannot be or is not safe.

        Raises:
            ReenactError: one sentence.
        """
        if not self.keys and not is_loopback(self.host):
            raise ReenactError(
                f"listening on {self.host} opens the server to others, and there is no API key; make one with "
                "'reenactor serve --keys FILE --add-key NAME', or listen on 127.0.0.1"
            )
        least = {
            "--workers": self.workers,
            "--queue": self.queue,
            "--rate": self.rate_per_minute,
            "--keep-hours": self.keep_hours,
            "--job-minutes": self.job_minutes,
            "--threads": 1 if self.threads is None else self.threads,
        }
        for name, value in least.items():
            if not value > 0:
                raise ReenactError(f"{name} must be more than 0, not {value}")
        if self.live < 0:
            raise ReenactError(f"--live must be 0 or more, not {self.live}")
        if "*" in self.cors:
            raise ReenactError("--cors * would let every web page use the API; name the pages' origins")


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
