"""The tab Edit: a face changed by hand."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, astuple
from typing import Any

import gradio as gr

from reenactor.core.options import Layout, Transfer
from reenactor.media import MOTION_SUFFIX
from reenactor.server.page import html
from reenactor.server.page.edits import HIGHEST, LOWEST, NAMES, Edits
from reenactor.server.page.session import Sessions
from reenactor.server.page.tabs import QUICK, TargetPanel, model_choice
from reenactor.server.records import JobOptions

EDIT_SIDE_PX = 1024
_LABELS = {
    "yaw": "Turn left or right (degrees)",
    "pitch": "Look up or down (degrees)",
    "roll": "Tilt (degrees)",
    "mouth": "Open the mouth",
    "smile": "Smile",
    "brows": "Lower or raise the brows",
    "blink_left": "Close the eye on the left",
    "blink_right": "Close the eye on the right",
    "gaze_x": "Eyes to the left or right",
    "gaze_y": "Eyes up or down",
}
_SAVE = "([url, name]) => { window.reenactorSave(url, name); }"
_STILL, _MOVEMENT = "a still", "a movement from neutral to it"


def build(sessions: Sessions, panel: TargetPanel, tab: gr.Tab) -> None:
    """The tab's components and handlers."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280, elem_id="edit-left"):
            picture = gr.HTML(elem_id="edit-picture")
            layout = gr.Radio(
                [("the face alone", Layout.CROP.value), ("the whole photo", Layout.PHOTO.value)],
                value=Layout.CROP.value,
                label="Show",
            )
            status = gr.HTML(elem_id="edit-said")
            model = model_choice(sessions)
        with gr.Column(min_width=280):
            sliders = [_slider(name) for name in NAMES]
            reset = gr.Button("Back to the photo", size="sm", elem_id="edit-reset")
            save_picture = gr.Button("Save the picture (signed PNG)", size="sm", elem_id="edit-save-picture")
            kind = gr.Radio([_STILL, _MOVEMENT], value=_MOVEMENT, label="As a motion file, for any photo")
            with gr.Row():
                save_motion = gr.Button("Save the motion file", size="sm", elem_id="edit-save-motion")
                load = gr.UploadButton("Read one", file_types=[MOTION_SUFFIX], size="sm", elem_id="edit-load")
    made = gr.JSON(visible=False)
    chosen = [panel.face, layout, model, *sliders]

    def options_of(face: int, layout: str, model: str) -> dict[str, Any]:
        # With all sliders at 0 the photo is as it is.
        same = {"transfer": Transfer.RELATIVE, "max_side": EDIT_SIDE_PX}
        return {"model": model, "face": face or None, "layout": Layout(layout), **same}

    async def draw(request: gr.Request, face: int, layout: str, model: str, *values: float) -> tuple[str, str]:
        session = sessions.of(request)
        if not session.faces:
            return "", html.note("Add a photo at the top of the page, or take the example.")
        try:
            photos = sessions.state.store.photos(sessions.target(session))
            options = JobOptions(**options_of(face, layout, model))
            await sessions.state.check_names(options)
            drawn = await sessions.previews.edited(photos, options, list(values))
            return html.picture(drawn), ""
        except Exception as error:
            return "", html.problem(html.sentence_of(error))

    async def read(upload: str, request: gr.Request) -> tuple[Any, ...]:
        try:
            values = await sessions.read_edits(sessions.of(request), upload)
            text = html.note("Read: the liveliest moment of the motion, as near as the sliders go.")
            return *values, text
        except Exception as error:
            return *(gr.update() for _ in NAMES), html.problem(html.sentence_of(error))

    async def motion_file(kind: str, *values: float) -> tuple[Any, str]:
        try:
            data = await sessions.previews.motion(list(values), still=kind == _STILL)
        except Exception as error:
            return None, html.problem(html.sentence_of(error))
        return [f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}", "edit.motion"], ""

    async def picture_file(request: gr.Request, face: int, layout: str, model: str, *values: float) -> tuple[Any, str]:
        session = sessions.of(request)
        try:
            sessions.target(session)
            await sessions.clear(session, "edit")
            motion = await sessions.previews.motion(list(values), still=True)
            driver = await sessions.state.driver(session.owner, None, io.BytesIO(motion))
            job = await sessions.submit(session, "edit", driver, format="png", **options_of(face, layout, model))
            async for _ in sessions.follow(session, job):
                pass
        except Exception as error:
            return None, html.problem(html.sentence_of(error))
        return [html.result_url(job.id), "edit.png"], ""

    quiet: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", **QUICK}
    changes = [tab.select, panel.chosen.change, panel.face.change, layout.change, model.change]
    gr.on([*(slider.input for slider in sliders), *changes], draw, chosen, [picture, status], **quiet)
    reset.click(lambda: astuple(Edits()), None, sliders, show_progress="hidden", **QUICK).then(
        draw, chosen, [picture, status], **quiet
    )
    load.upload(read, load, [*sliders, status], show_progress="hidden", **QUICK).then(
        draw, chosen, [picture, gr.State()], **quiet
    )
    for button, make, inputs in (
        (save_motion, motion_file, [kind, *sliders]),
        (save_picture, picture_file, chosen),
    ):
        button.click(make, inputs, [made, status], show_progress="hidden", **QUICK).then(None, made, None, js=_SAVE)


def _slider(name: str) -> gr.Slider:
    low, high = asdict(LOWEST)[name], asdict(HIGHEST)[name]
    step = 1 if high > 1 else 0.05
    return gr.Slider(low, high, value=0, step=step, label=_LABELS[name], elem_id=f"edit-{name}", buttons=[])
