"""Serves the page: Gradio and the live WebSocket on one address, with nothing from outside."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import closing
from importlib import resources
from typing import TYPE_CHECKING

import torch

from reenactor.core import ReenactError
from reenactor.server.page.settings import WebSettings
from reenactor.server.run import listening_socket, url_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from reenactor.server.page.desk import Desk

_SHUTDOWN_S = 3


def serve_web(settings: WebSettings) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ReenactError: a setting cannot be, the address is taken, or a package is missing.
    """
    settings.check()
    # Read by Gradio when it is imported: it would otherwise report its use and ask for a newer version of itself.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    try:
        import gradio  # noqa: F401
        import uvicorn

        from reenactor.server.page.live import LARGEST_MESSAGE
    except ModuleNotFoundError as error:
        raise ReenactError(
            f"'{error.name}' is missing, which needs the extra 'server'; pip install 'reenactor[server]'"
        ) from error
    from reenactor.server.page.desk import Desk

    if threading.current_thread() is threading.main_thread():
        # uvicorn raises the signal again when it is done: what visitors sent must be deleted after SIGTERM, too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Live drawing and an animation share the cores; more threads than cores wait for one another.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    with closing(listening_socket(settings.host, settings.port)) as listening, closing(Desk(settings)) as desk:
        os.environ["GRADIO_TEMP_DIR"] = str(desk.folder / "uploads")
        config = uvicorn.Config(
            create_app(desk),
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        server = uvicorn.Server(config)
        print(f"reenactor's page: {url_of(listening)}", flush=True)
        # Pages that are open when it is stopped are cut off, which is not worth a traceback each.
        logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
        server.run(sockets=[listening])


def create_app(desk: Desk) -> FastAPI:
    """The application."""
    import gradio as gr
    from fastapi import FastAPI

    from reenactor.server.page.guard import Guard
    from reenactor.server.page.live import Studio
    from reenactor.server.page.page import build, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    studio = Studio(desk)
    studio.mount(app)
    assets = resources.files("reenactor") / "assets" / "web"
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "live.js"))
    gr.mount_gradio_app(
        app,
        build(desk, studio),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=desk.settings.max_upload_mib * 2**20,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        # Not as `css`, which Gradio rewrites so that it does not reach the page's frame.
        head=f"<style>{style}</style><script>{script}</script>",
    )
    app.add_middleware(Guard, settings=desk.settings)
    return app
