"""The page: whose photos at the top, a tab for each thing to do with them."""

from __future__ import annotations

import gradio as gr
from gradio.themes import Base, Default

from reenactor.server.page import tab_animate, tab_compare, tab_edit, tab_inspect, tab_live, who
from reenactor.server.page.desk import Desk
from reenactor.server.page.live import Studio

_KEEP_S = 6 * 3600
_TITLE = (
    '<div class="re-title"><h1>reenactor</h1><p>Make the person in a photo move. Use your own photos, or those of '
    "people who agreed; every result says that it is synthetic.</p></div>"
)


def build(desk: Desk, studio: Studio) -> gr.Blocks:
    """All of it."""
    with gr.Blocks(analytics_enabled=False, title="reenactor", delete_cache=(600, _KEEP_S)) as page:
        gr.HTML(_TITLE)
        person = who.build(desk)
        # All are seen on a phone, too: no menu hides the last.
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab("Animate", id="animate"):
                tab_animate.build(desk, person)
            with gr.Tab("Live", id="live"):
                tab_live.build(desk, person, studio)
            with gr.Tab("Edit", id="edit") as edit:
                tab_edit.build(desk, person, edit)
            with gr.Tab("Compare", id="compare"):
                tab_compare.build(desk, person)
            with gr.Tab("Inspect", id="inspect"):
                tab_inspect.build(desk)

        def leave(request: gr.Request) -> None:
            visitor = str(request.session_hash)
            studio.leave(visitor)
            desk.leave(visitor)

        page.unload(leave)
    return page


def theme() -> Base:
    """Fonts of the system: none is loaded."""
    return Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        # Contrast of at least 4.5 to 1.
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
