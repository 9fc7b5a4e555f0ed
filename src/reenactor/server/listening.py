"""What the API's and the page's servers share: an address of their own, and how uvicorn answers there."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """Listens already, so that who reads the address can ask at once.

    Args:
        host: name or address.
        port: 0 takes a free one.

    Raises:
        ReenactError: the address is taken, or not of this computer.
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
    """Where it is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def uvicorn_server(app: Any, *, largest_message: int, shutdown_s: int) -> uvicorn.Server:
    """Not yet running.

    Args:
        app: an ASGI application.
        largest_message: bytes, of a WebSocket's.
        shutdown_s: that requests have to end when the server shall.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=largest_message,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=shutdown_s,
    )
    return uvicorn.Server(config)


def _cannot_listen(host: str, port: int, error: OSError) -> ReenactError:
    reason = (error.strerror or str(error)).lower()
    return ReenactError(f"cannot listen on {host}, port {port}: {reason}; choose another --host or --port")
