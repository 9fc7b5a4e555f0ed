"""Tab: a face by hand."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import Any

import gradio as gr

from reenactor.core import Layout, ReenactError
from reenactor.engine.recording import claim_of
from reenactor.media import (
    MOTION_SUFFIX,
    SourceFile,
    own_credentials,
    read_motion,
    sign_provenance,
    write_image,
    write_motion,
)
from reenactor.server.page.desk import EDIT_SIDE_PX, Desk, Person
from reenactor.server.page.edits import (
    HIGHEST,
    LOWEST,
    NAMES,
    Edits,
    driver_mesh,
    edits_of,
    movement,
    rest_mesh,
    still_motion,
)
from reenactor.server.page.events import QUICK
from reenactor.server.page.tab_animate import model_choice
from reenactor.server.page.who import Who
from reenactor.server.page.words import note, problem

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
_DOWNLOAD = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""
_STILL, _MOVEMENT = "a still", "a movement from neutral to it"


def build(desk: Desk, who: Who, tab: gr.Tab) -> None:
    """The tab's parts, and what they do."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280, elem_id="edit-left"):
            picture = gr.Image(
                label="Result", interactive=False, format="jpeg", buttons=[], elem_id="edit-picture", height=440
            )
            layout = gr.Radio(
                [("the face alone", Layout.CROP.value), ("the whole photo", Layout.PHOTO.value)],
                value=Layout.CROP.value,
                label="Show",
            )
            said = gr.HTML(elem_id="edit-said")
            model = model_choice(desk)
        with gr.Column(min_width=280):
            sliders = [_slider(name) for name in NAMES]
            reset = gr.Button("Back to the photo", size="sm", elem_id="edit-reset")
            save_picture = gr.Button("Save the picture (signed PNG)", size="sm", elem_id="edit-save-picture")
            kind = gr.Radio([_STILL, _MOVEMENT], value=_MOVEMENT, label="As a motion file, for any photo")
            with gr.Row():
                save_motion = gr.Button("Save the motion file", size="sm", elem_id="edit-save-motion")
                load = gr.UploadButton("Read one", file_types=[MOTION_SUFFIX], size="sm", elem_id="edit-load")

    made = gr.File(visible=False)

    chosen = [who.photos, who.face, layout, model, *sliders]

    def drawn(
        request: gr.Request, photos: list[str] | None, face: int, layout: str, model: str, values: tuple[float, ...]
    ) -> Any:
        person = Person.of(photos, face)
        with desk.drawing:
            reenactor = desk.reenactor(str(request.session_hash), "edit", person, model, EDIT_SIDE_PX)
            wanted = reenactor.retargeter(rest_mesh())(driver_mesh(Edits(*values)))
            frame = reenactor.frame(wanted, 0.0)
        return person, reenactor, frame.face if layout == Layout.CROP else frame.image

    def draw(
        request: gr.Request, photos: list[str] | None, face: int, layout: str, model: str, *values: float
    ) -> tuple[Any, str]:
        if not photos:
            return None, note("Add a photo at the top of the page, or take the example.")
        try:
            return drawn(request, photos, face, layout, model, values)[2], ""
        except Exception as error:
            return None, problem(desk.sentence(error))

    def read(file: str) -> tuple[Any, ...]:
        try:
            motion = read_motion(file)
            if not motion.seen.any():
                raise ReenactError("no frame of this motion file shows a face; choose another")
            return *astuple(edits_of(motion)), note(
                "Read: the liveliest moment of the motion, as near as the sliders go."
            )
        except Exception as error:
            return *(gr.update() for _ in NAMES), problem(desk.sentence(error))

    def motion_file(request: gr.Request, kind: str, *values: float) -> str:
        edits = Edits(*values)
        output = desk.new_file(str(request.session_hash), "edit.motion")
        write_motion(output, still_motion(edits) if kind == _STILL else movement(edits))
        return str(output)

    def picture_file(
        request: gr.Request, photos: list[str] | None, face: int, layout: str, model: str, *values: float
    ) -> str:
        try:
            person, reenactor, image = drawn(request, photos, face, layout, model, values)
            output = desk.new_file(str(request.session_hash), "edit.png")
            write_image(output, image)
            inputs = [SourceFile.of("target", photo) for photo in person.photos]
            sign_provenance(
                output, output, claim_of(reenactor.model, output.name, inputs), desk.credentials or own_credentials()
            )
            return str(output)
        except Exception as error:
            raise gr.Error(desk.sentence(error), print_exception=False) from error

    quiet: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", **QUICK}
    gr.on([slider.input for slider in sliders], draw, chosen, [picture, said], **quiet)
    gr.on(
        [tab.select, who.photos.change, who.face.change, layout.change, model.change],
        draw,
        chosen,
        [picture, said],
        **quiet,
    )
    reset.click(lambda: astuple(Edits()), None, sliders, show_progress="hidden", **QUICK).then(
        draw, chosen, [picture, said], **quiet
    )
    load.upload(read, load, [*sliders, said], show_progress="hidden", **QUICK).then(
        draw, chosen, [picture, gr.State()], **quiet
    )
    for button, make, inputs in (
        (save_motion, motion_file, [kind, *sliders]),
        (save_picture, picture_file, chosen),
    ):
        button.click(make, inputs, made, show_progress="hidden", **QUICK).success(None, made, None, js=_DOWNLOAD)


def _slider(name: str) -> gr.Slider:
    low, high = asdict(LOWEST)[name], asdict(HIGHEST)[name]
    step = 1 if high > 1 else 0.05
    return gr.Slider(low, high, value=0, step=step, label=_LABELS[name], elem_id=f"edit-{name}", buttons=[])
