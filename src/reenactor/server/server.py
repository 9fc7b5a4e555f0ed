"""Runs the API: a socket, the application, and an end in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reenactor.core.errors import ReenactError
from reenactor.core.system import locked
from reenactor.server.api.animating import try_settings
from reenactor.server.api.helpers import Helper
from reenactor.server.api.settings import Settings
from reenactor.server.listening import listening_socket, url_of, uvicorn_server

_SHUTDOWN_S = 10
_TRIAL_S = 120


def serve(settings: Settings) -> None:
    """Answer until Ctrl-C or SIGTERM.

    Raises:
        ReenactError: the settings are not safe, the address or the data folder is taken, or a package is missing.
    """
    try:
        import uvicorn  # noqa: F401

        from reenactor.server.api.app import create_app
        from reenactor.server.api.live import LARGEST_MESSAGE
    except ModuleNotFoundError as error:
        raise ReenactError(
            f"'{error.name}' is missing, which needs the extra 'server'; pip install 'reenactor[server]'"
        ) from error
    settings.check()
    _try(settings)
    with closing(listening_socket(settings.host, settings.port)) as listening, _alone(settings.data):
        server = uvicorn_server(create_app(settings), largest_message=LARGEST_MESSAGE, shutdown_s=_SHUTDOWN_S)
        print(f"reenactor listens on {url_of(listening)}", flush=True)
        server.run(sockets=[listening])


def _try(settings: Settings) -> None:
    """Tell now, not in every job, that a model or certificate is no good. PyTorch is loaded in another process."""
    if settings.model == Settings.model and settings.weights is None and settings.sign_cert is None:
        return
    with closing(Helper("reenactor-trial", try_settings, settings)) as helper:
        helper.send({})
        if error := helper.receive(_TRIAL_S)["error"]:
            raise ReenactError(error)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two servers on one folder would both work on its jobs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "in-use").touch()
    except OSError as error:
        raise ReenactError(
            f"cannot write in {folder}: {(error.strerror or '').lower()}; choose another --data"
        ) from error
    with locked(folder / "in-use", taken=f"another server uses {folder}; stop it, or choose another --data"):
        yield
