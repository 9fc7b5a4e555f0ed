"""Tab: the camera drives the photo at once."""

from __future__ import annotations

from importlib import resources

import gradio as gr

from reenactor.server.page.desk import Desk, Person
from reenactor.server.page.events import QUICK
from reenactor.server.page.live import Studio
from reenactor.server.page.tab_animate import model_choice
from reenactor.server.page.who import Who
from reenactor.server.page.words import problem


def build(desk: Desk, who: Who, studio: Studio) -> None:
    """The tab's parts, and what they do."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=240):
            model = model_choice(desk)
            start = gr.Button("Start the camera", variant="primary", elem_id="live-start")
            said = gr.HTML(elem_id="live-said")
            gr.Markdown(
                "Look straight ahead with a relaxed face when it starts: that is taken for your neutral face, and the "
                "photo does what you do from there. *This is my neutral face* takes it anew."
            )
        with gr.Column(scale=2, min_width=280):
            page = resources.files("reenactor") / "assets" / "web" / "live.html"
            gr.HTML(page.read_text(encoding="utf-8"), js_on_load=None)
    ticket = gr.Textbox(visible=False)

    def prepare(photos: list[str] | None, face: int, model: str, request: gr.Request) -> tuple[str, str]:
        try:
            return studio.ticket(str(request.session_hash), Person.of(photos, face), model), ""
        except Exception as error:
            return "", problem(desk.sentence(error))

    start.click(prepare, [who.photos, who.face, model], [ticket, said], show_progress_on=said, **QUICK).then(
        None, ticket, None, js="(ticket) => { window.reenactorLive.start(ticket); }"
    )
