"""How a server is set up."""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reenactor.core.errors import ReenactError
from reenactor.core.files import config_folder
from reenactor.core.options import DEFAULT_MODEL, check_device
from reenactor.server.confinement import Confinement
from reenactor.server.keys import Keys

_WORKER_BYTES = 16 * 2**30


@dataclass(frozen=True)
class Limits:
    """The largest upload that is accepted.

    Args:
        photo_mib, driver_mib: size of a photo of the target, and of a driver or a video of the target, in MiB.
        photo_megapixels: of a photo, and of a photo as driver.
        video_megapixels: of a video's frame; 9 admits 4K.
        seconds, frames: length of a driver or video.
        check_memory_mib, check_seconds: memory and processor time that the check of one upload may use.
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
    """How a server is set up; defaults as in `reenactor serve`.

    Args:
        data: folder for everything that is stored.
        host, port: address to listen on; port 0 takes a free one.
        page: serve the page for browsers, too.
        names: host names under which the page may be opened, besides the computer's own and its addresses.
        keys: API keys. Without any, only the loopback address can be used, and nothing is limited for each key.
        workers: processes that run jobs.
        threads: PyTorch's threads in each of them; None for PyTorch's choice.
        device: see `Options.device`.
        queue: jobs that may wait; with several keys, half of them of each.
        gib_per_key: what a key's files may take.
        live: live sessions at a time, a process each; with several keys, none has them all.
        live_minutes: live driving of a key in an hour.
        rate_per_minute: requests a minute for each key.
        keep_hours: targets are deleted this long after their last use, jobs this long after their end.
        job_minutes: time limit of one job and one recording.
        model: used where a request names none.
        weights: checkpoint folders by the name of their model; other models use the weights that ship.
        transformers: checkpoint folders of landmark transformers by the name that requests use.
        sign_cert, sign_key: PEM files that results are signed with; None for a self-made certificate.
        provenance: sign results as synthetic.
        cors: origins of other web sites whose pages may use the API.
        limits: on uploads.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    page: bool = False
    names: tuple[str, ...] = ()
    keys: Keys = field(default_factory=Keys)
    workers: int = 1
    threads: int | None = None
    device: str = "auto"
    queue: int = 32
    gib_per_key: float = 10.0
    live: int = 1
    live_minutes: float = 30.0
    rate_per_minute: int = 600
    keep_hours: float = 24.0
    job_minutes: float = 60.0
    model: str = DEFAULT_MODEL
    weights: Mapping[str, Path] = field(default_factory=dict)
    transformers: Mapping[str, Path] = field(default_factory=dict)
    sign_cert: Path | None = None
    sign_key: Path | None = None
    provenance: bool = True
    cors: tuple[str, ...] = ()
    limits: Limits = Limits()

    @property
    def keep_s(self) -> float:
        """`keep_hours` in seconds."""
        return 3600 * self.keep_hours

    @property
    def shared(self) -> bool:
        """Whether several keys share the server, so that none may have all of it."""
        return len(self.keys) > 1

    @property
    def queue_of_key(self) -> int:
        """Jobs with one key that may wait."""
        return (self.queue + 1) // 2 if self.shared else self.queue

    def confinement(self) -> Confinement:
        """Of the processes that draw: the keys of this user are hidden from them."""
        hidden = (config_folder(), *([] if self.sign_key is None else [self.sign_key]))
        on_gpu = self.device != "cpu" and Path("/dev/nvidiactl").exists()
        return Confinement(hidden, None if on_gpu else _WORKER_BYTES)

    def check(self) -> None:
        """Refuse settings that are impossible or unsafe.

        Raises:
            ReenactError: says which.
        """
        if not len(self.keys) and not is_loopback(self.host):
            raise ReenactError(
                f"listening on {self.host} opens the server to others, and there is no API key; make one with "
                "'reenactor serve --keys FILE --add-key NAME', or listen on 127.0.0.1"
            )
        if not 0 <= self.port <= 65535:
            raise ReenactError(f"--port must be from 0 to 65535, not {self.port}")
        positive = {
            "--workers": self.workers,
            "--queue": self.queue,
            "--gib-per-key": self.gib_per_key,
            "--live-minutes": self.live_minutes,
            "--rate": self.rate_per_minute,
            "--keep-hours": self.keep_hours,
            "--job-minutes": self.job_minutes,
            "--threads": 1 if self.threads is None else self.threads,
            "the largest upload, in MiB,": min(self.limits.photo_mib, self.limits.driver_mib),
        }
        for name, value in positive.items():
            if not value > 0:
                raise ReenactError(f"{name} must be more than 0, not {value}")
        if self.live < 0:
            raise ReenactError(f"--live must be 0 or more, not {self.live}")
        check_device(self.device)
        if "*" in self.cors:
            raise ReenactError("--cors * would let every web page use the API; name the pages' origins")
        if (self.sign_cert is None) != (self.sign_key is None):
            raise ReenactError("--sign-cert and --sign-key belong together; give both")


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach an address or name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def runtimes() -> list[str]:
    """The runtimes that are installed here, as `Options.runtime` names them."""
    optional = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name) is not None]
    return ["torch", "auto", *optional]
