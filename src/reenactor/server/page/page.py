"""The page: photos at the top, a tab for each thing to do with them; mounted into the server's application."""

from __future__ import annotations

import os
from importlib import resources
from types import SimpleNamespace

import gradio as gr
import gradio.queueing
import gradio.routes
from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from gradio.themes import Base, Default
from starlette.routing import Mount

from reenactor.server.guard import KEY_COOKIE, LOGIN, RefusalError
from reenactor.server.page import tab_compare, tab_edit, tabs
from reenactor.server.page.gate import Gate, fail_in_one_line
from reenactor.server.page.previews import Previews
from reenactor.server.page.session import Sessions
from reenactor.server.state import AppState

_TITLE = (
    '<div class="re-title"><h1>reenactor</h1><p>Make the person in a photo move. Use your own photos, or those of '
    "people who agreed; every result says that it is synthetic.</p></div>"
)
_LOGIN_S = 30 * 24 * 3600


def mount_page(app: FastAPI, state: AppState) -> Previews:
    """Add the page and its login to an application.

    Returns:
        The processes to start and close with the application.
    """
    previews = Previews(state.settings)
    os.environ["GRADIO_TEMP_DIR"] = str(state.store.uploads.resolve())
    _add_login(app, state)
    style, script = (asset("page.css"), asset("page.js"))
    sessions = Sessions(state, previews)
    page = _build(sessions)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        # Not as `css`, which Gradio rewrites so that it does not reach the page's frame.
        head=f"<style>{style}</style><script>{script}</script>",
    )
    # Gradio checks the paths that a client sends only for pages it launched itself.
    page.has_launched = True
    for module in (gradio.routes, gradio.queueing):
        # It prints a traceback for every request that it cannot use.
        vars(module)["traceback"] = SimpleNamespace(print_exc=fail_in_one_line)
    mounted = app.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = Gate(mounted.app, sessions)
    return previews


def asset(name: str) -> str:
    """Text of a file in assets/web."""
    return (resources.files("reenactor") / "assets" / "web" / name).read_text(encoding="utf-8")


def _add_login(app: FastAPI, state: AppState) -> None:
    @app.get(LOGIN, include_in_schema=False)
    def ask_key() -> Response:
        return HTMLResponse(asset("login.html"))

    @app.post(LOGIN, include_in_schema=False)
    def log_in(request: Request, key: str = Form(max_length=200)) -> Response:
        if state.settings.keys.owner(key.strip()) is None:
            raise RefusalError(401, "this key is not known; go back and enter another")
        answer = RedirectResponse("./", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(KEY_COOKIE, key.strip(), _LOGIN_S, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.api_route(
        "/v1/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    def no_such_route(rest: str) -> Response:
        raise RefusalError(404, "there is nothing at this address; see /openapi.json for what there is")


def _build(sessions: Sessions) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False, title="reenactor") as page:
        gr.HTML(_TITLE)
        face = tabs.target_panel(sessions, asset("record.html"))
        # All are visible on a phone, too: no menu hides the last.
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab("Animate", id="animate"):
                tabs.animate_tab(sessions, face)
            with gr.Tab("Live", id="live"):
                tabs.live_tab(sessions, face, asset("live.html"))
            with gr.Tab("Edit", id="edit") as edit:
                tab_edit.build(sessions, face, edit)
            with gr.Tab("Compare", id="compare"):
                tab_compare.build(sessions, face)
            with gr.Tab("Inspect", id="inspect"):
                tabs.inspect_tab(sessions)
        page.unload(sessions.leave)
    for block in page.blocks.values():
        if isinstance(block, gr.File | gr.UploadButton):
            # Gradio's own leaves an empty file for each use.
            vars(block)["_process_single_file"] = lambda file: file.path
    return page


def _theme() -> Base:
    """Fonts of the system, as none may be loaded; contrast of at least 4.5 to 1."""
    return Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
    )
