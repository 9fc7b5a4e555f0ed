"""What the web app is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reenactor.core.errors import ReenactError
from reenactor.server.settings import is_loopback


@dataclass(frozen=True)
class WebSettings:
    """How the page is served; defaults as on the command line.

    Args:
        host: address to listen on.
        port: 0 for a free one.
        names: further names under which the computer is asked for (behind a proxy), besides its addresses.
        weights: folders of checkpoints by the model's name, for models whose weights do not ship.
        max_upload_mib: of one file.
        live: people who may drive live at a time.
        sign_cert, sign_key: what results are signed with; None for a self-made certificate.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    weights: dict[str, Path] = field(default_factory=dict)
    max_upload_mib: int = 500
    live: int = 2
    sign_cert: Path | None = None
    sign_key: Path | None = None

    def check(self) -> None:
        """Raise ReenactError for what cannot be."""
        if not 0 <= self.port <= 65535:
            raise ReenactError(f"a port is a number from 0 to 65535, not {self.port}")
        if self.max_upload_mib < 1 or self.live < 1:
            raise ReenactError("the largest upload and the number of live drivers must be at least 1")
        if (self.sign_cert is None) != (self.sign_key is None):
            raise ReenactError("--sign-cert and --sign-key belong together; give both")

    @property
    def local(self) -> bool:
        """Whether this computer alone can reach the page."""
        return is_loopback(self.host)
