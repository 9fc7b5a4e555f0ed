"""Tab: what a file says about its origin."""

from __future__ import annotations

from typing import Any

import gradio as gr

from reenactor.media import read_provenance, render_provenance
from reenactor.server.page.desk import Desk
from reenactor.server.page.events import QUICK
from reenactor.server.page.words import note, problem


def build(desk: Desk) -> None:
    """The tab's parts, and what they do."""
    gr.Markdown(
        "Is a picture or video synthetic, who made it, and was it changed since? Any file that carries Content "
        "Credentials (C2PA) can be looked at. That a file says nothing does not mean that it is real."
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            file = gr.File(label="A picture or video", height=150, elem_id="inspect-file")
        with gr.Column(min_width=280):
            said = gr.HTML(elem_id="inspect-said")
            details = gr.Textbox(
                label="In full", lines=9, visible=False, elem_id="inspect-details", elem_classes="re-provenance"
            )

    def inspect(path: str | None) -> tuple[str, Any]:
        if not path:
            return "", gr.update(visible=False)
        try:
            report = read_provenance(path)
        except Exception as error:
            return problem(desk.sentence(error)), gr.update(visible=False)
        verdict, _, rest = render_provenance(report).partition("\n")
        box = problem if report.tampered else note
        return box(verdict), gr.update(value=rest, visible=bool(rest))

    file.change(inspect, file, [said, details], show_progress="minimal", **QUICK)
