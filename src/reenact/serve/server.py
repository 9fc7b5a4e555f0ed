"""Runs the API: a socket, the application, and an end in order."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reenact.core.errors import ReenactError
from reenact.serve.api.animating import try_settings
from reenact.serve.api.helpers import Helper
from reenact.serve.api.settings import Settings

_SHUTDOWN_S = 10
_BACKLOG = 2048
_TRIAL_S = 120


def serve(settings: Settings) -> None:
    """Answer until Ctrl-C or SIGTERM.

    Raises:
        ReenactError: the settings are not safe, the address or the data folder is taken, or a package is missing.
    """
    try:
        import uvicorn

        from reenact.serve.api.app import create_app
        from reenact.serve.api.live import LARGEST_MESSAGE
    except ModuleNotFoundError as error:
        raise ReenactError(
            f"'{error.name}' is missing, which needs the extra 'serve'; pip install 'reenact[serve]'"
        ) from error
    settings.check()
    _try(settings)
    with closing(_listening(settings)) as listening, _alone(settings.data):
        app = create_app(settings)
        config = uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        host, port = listening.getsockname()[:2]
        print(f"reenact listens on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def _try(settings: Settings) -> None:
    """Tell now, not in every job, that a model or certificate is no good. PyTorch is loaded in another process."""
    if settings.model == Settings.model and settings.weights is None and settings.sign_cert is None:
        return
    with closing(Helper("reenact-trial", try_settings, settings)) as helper:
        helper.send({})
        if error := helper.receive(_TRIAL_S)["error"]:
            raise ReenactError(error)


def _listening(settings: Settings) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot_listen(settings, error) from error
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)  # now, so that who reads the address can ask at once
    except OSError as error:
        listening.close()
        raise _cannot_listen(settings, error) from error
    return listening


def _cannot_listen(settings: Settings, error: OSError) -> ReenactError:
    reason = (error.strerror or str(error)).lower()
    return ReenactError(
        f"cannot listen on {settings.host}, port {settings.port}: {reason}; choose another --host or --port"
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two servers on one folder would both work on its jobs."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "in-use").open("w")
    except OSError as error:
        raise ReenactError(
            f"cannot write in {folder}: {(error.strerror or '').lower()}; choose another --data"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReenactError(f"another server uses {folder}; stop it, or choose another --data") from error
        yield
