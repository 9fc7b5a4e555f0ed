"""Start-up: checks, a socket, the lock on the data folder, the application, and an end in order."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL
from reenactor.core.system import locked
from reenactor.server.confinement import protect_keys
from reenactor.server.settings import Settings
from reenactor.server.store import INCOMING, check_folder

_BACKLOG = 2048
_SHUTDOWN_S, _PAGE_SHUTDOWN_S = 10, 3
"""Time that requests have to end when the server stops; open pages never end theirs by themselves."""


def serve(settings: Settings, *, login_key: str | None = None) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        settings: of the server.
        login_key: a key of these settings that is printed as part of the page's address.

    Raises:
        ReenactError: the settings are unsafe, the address or the data folder is in use, or a package is missing.
    """
    settings.check()
    protect_keys()
    confined = settings.confinement().report()
    # Gradio reads these when it is imported: it would report its use and ask for a newer version of itself.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    try:
        import uvicorn

        if settings.page:
            importlib.import_module("gradio")
        from reenactor.server.app import create_app
        from reenactor.server.guard import LOGIN
        from reenactor.server.live import LARGEST_MESSAGE
        from reenactor.server.state import described_models
    except ModuleNotFoundError as error:
        raise ReenactError(
            f"'{error.name}' is missing, which needs the extra 'server'; pip install 'reenactor[server]'"
        ) from error
    own = settings.page or settings.weights or settings.model != DEFAULT_MODEL or settings.sign_cert is not None
    models = described_models(settings) if own else None  # a wrong model or certificate is reported now, not in a job
    with closing(listening_socket(settings.host, settings.port)) as listening, _own(settings.data):
        app = create_app(settings, models=models)
        # Temporary files, of child processes too, are deleted at the next start if the server is killed.
        os.environ["TMPDIR"] = tempfile.tempdir = str(settings.data.resolve() / INCOMING)
        config = uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=_PAGE_SHUTDOWN_S if settings.page else _SHUTDOWN_S,
        )
        path = f"{LOGIN}#{login_key}" if login_key else ""
        print(f"reenactor {'shows its page' if settings.page else 'listens'} on {url_of(listening)}{path}")
        print(f"reenactor: {confined}", flush=True)
        server = uvicorn.Server(config)
        # Pages that are open at the end are cut off, which is not worth a traceback each.
        logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
        server.run(sockets=[listening])


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that whoever reads its address can connect at once.

    Args:
        host: name or address.
        port: 0 takes a free one.

    Raises:
        ReenactError: the address is in use, or not of this computer.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _cannot_listen(host, port, error) from error
    return listening


def url_of(listening: socket.socket) -> str:
    """The address of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> ReenactError:
    reason = (error.strerror or str(error)).lower()
    return ReenactError(f"cannot listen on {host}, port {port}: {reason}; choose another --host or --port")


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Keep other servers out of the data folder: both would run its jobs."""
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "in-use").touch()
    except OSError as error:
        raise ReenactError(
            f"cannot write in {folder}: {(error.strerror or '').lower()}; choose another --data"
        ) from error
    with locked(folder / "in-use", taken=f"another server uses {folder}; stop it, or choose another --data"):
        yield
