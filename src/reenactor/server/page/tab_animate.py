"""Tab: photos and a driver in, a video out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from reenactor.core import ReenactError
from reenactor.core.progress import Progress
from reenactor.engine import Report, animate
from reenactor.media import IMAGE_SUFFIXES, MOTION_SUFFIX, VIDEO_SUFFIXES, read_provenance, render_provenance
from reenactor.server.page.desk import Desk, Person
from reenactor.server.page.events import QUICK
from reenactor.server.page.who import Who
from reenactor.server.page.words import followed, note, problem, without_folders

TAB = "animate"
OWN = "my file"
TRANSFERS = [
    ("add the driver's movement to the photo", "relative"),
    ("copy the driver's face and pose", "absolute"),
    ("replace the photo's expression (landmark transformer)", "transformer"),
]
LAYOUTS = [("the whole photo", "photo"), ("the face alone", "crop"), ("photo, driver and result side by side", "grid")]


def build(desk: Desk, who: Who) -> None:
    """The tab's parts, and what they do."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            motion = motion_choice(desk, "animate-motion")
            driver = gr.File(
                label="Or your own driver: a video, a motion file or a photo",
                file_types=[*VIDEO_SUFFIXES, MOTION_SUFFIX, *IMAGE_SUFFIXES],
                height=150,
                elem_id="driver",
            )
            layout = gr.Radio(LAYOUTS, value="photo", label="Show", elem_id="layout")
            with gr.Accordion("More", open=False):
                model = model_choice(desk)
                transfer = gr.Radio(TRANSFERS, value="relative", label="How the movement is carried over")
                smooth = gr.Checkbox(label="Steady a jittery driver")
                driver_face = gr.Number(
                    label="Which face of the driver, from the left (0: the largest)", value=0, precision=0, minimum=0
                )
            with gr.Row():
                go = gr.Button("Animate", variant="primary", elem_id="animate")
                stop = gr.Button("Cancel", elem_id="animate-cancel", interactive=False)
            said = gr.HTML(elem_id="animate-said")
        with gr.Column(min_width=280):
            result = gr.Video(label="Result", autoplay=True, loop=True, buttons=[], elem_id="result", height=440)
            download = gr.DownloadButton("Download", visible=False, elem_id="download")
            origin = gr.Textbox(
                label="What the file says about its origin", visible=False, lines=8, elem_id="provenance",
                elem_classes="re-provenance",
            )  # fmt: skip

    def run(
        photos: list[str] | None, face: int, motion: str, driver: str | None, layout: str, model: str, transfer: str,
        smooth: bool, driver_face: float, request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        visitor = str(request.session_hash)
        waiting = {go: gr.update(interactive=False), stop: gr.update(interactive=True)}
        yield {**waiting, download: gr.update(visible=False), origin: gr.update(visible=False)}
        try:
            person = Person.of(photos, face)
            source = driver_file(desk, motion, driver)
            options = desk.options(
                model, transfer, layout, face=person.face, smooth=smooth, driver_face=int(driver_face or 0) or None
            )
            output = desk.new_file(visitor, f"{Path(person.photos[0]).stem}-{source.stem}.mp4")
            targets = [Path(photo) for photo in person.photos]

            def job(told: Progress) -> Report:
                return animate(targets, source, output, options, credentials=desk.credentials, progress=told)

            report = yield from followed(desk.begin(visitor, TAB, job), said)
            yield {
                result: str(output),
                download: gr.update(value=str(output), visible=True),
                origin: gr.update(value=render_provenance(read_provenance(output)), visible=True),
                said: note(told_of(report, desk)),
            }
        except Exception as error:
            yield {said: problem(desk.sentence(error)), result: None}
        yield {go: gr.update(interactive=True), stop: gr.update(interactive=False)}

    def cancel(request: gr.Request) -> None:
        desk.cancel(str(request.session_hash), TAB)

    inputs = [who.photos, who.face, motion, driver, layout, model, transfer, smooth, driver_face]
    outputs = [go, stop, said, result, download, origin]
    go.click(run, inputs, outputs, show_progress="hidden", concurrency_limit=1, concurrency_id="work")
    stop.click(cancel, None, None, show_progress="hidden", **QUICK)
    driver.upload(lambda: OWN, None, motion, show_progress="hidden", **QUICK)


def motion_choice(desk: Desk, elem_id: str) -> gr.Radio:
    """The motions that ship, or a file."""
    choices = [(name, name) for name in desk.motions]
    return gr.Radio([*choices, (OWN, OWN)], value="smile", label="Movement", elem_id=elem_id)


def model_choice(desk: Desk) -> gr.Dropdown:
    """Models whose weights are there; the others are named."""
    missing = desk.missing_models()
    info = f"Without weights here: {', '.join(missing)} (give some with --weights NAME=DIR)" if missing else None
    choices = [(label, name) for name, label in desk.models().items()]
    return gr.Dropdown(choices, value=choices[0][1], label="Model", info=info)


def driver_file(desk: Desk, motion: str, driver: str | None) -> Path:
    """The driver that was chosen.

    Raises:
        ReenactError: it is to be a file, and there is none.
    """
    if motion != OWN:
        return desk.motions[motion]
    if not driver:
        raise ReenactError("there is no driver yet; add a video, a motion file or a photo, or choose a movement")
    return Path(driver)


def told_of(report: Report, desk: Desk) -> str:
    """How it went, in a few lines."""
    return without_folders(report.text(), desk.folder)
