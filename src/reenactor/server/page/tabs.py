"""The target panel and the tabs Animate, Live and Inspect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from reenactor.core.options import Layout, Transfer
from reenactor.media import IMAGE_SUFFIXES, MOTION_SUFFIX, PERSON_SUFFIX, VIDEO_SUFFIXES
from reenactor.server.page import html
from reenactor.server.page.previews import PhotoFaces
from reenactor.server.page.session import OWN_DRIVER, Sessions
from reenactor.server.records import motion_names

QUICK: dict[str, Any] = {"queue": False}
"""For all but long work. Gradio sends the answers of queued events over one stream, and ends it with the last of them;
an event that comes in just then is never answered, so that a click right after another seemed to do nothing."""
LIVE_SIDE_PX = 720
_ASK = "One to eight photos, videos or person files of one person; the first is the picture that moves, or holds it."
_ONE_OF_SEVERAL = "Several faces: click the one that should move, or choose its number."
_ONE = "This face will move."
_PERSON = (
    "A person file keeps the pictures that show most of the person, and is read in a moment instead of the video. "
    "Make one only of yourself, or of somebody who has agreed to it."
)
_TUNE_MINUTES = 5.0
_TUNE = "The model learns the person for 5 minutes (on a CPU that rarely helps)"
_MADE = "The person file is made, and takes the place of what it was made from. Download it to use it again."
_TRANSFERS = [
    ("move like the driver", Transfer.PARTS.value),
    ("keep the photo's expression beneath it", "keep"),
    ("add the movement to the photo as it is", Transfer.RELATIVE.value),
    ("copy the driver's face and pose", Transfer.ABSOLUTE.value),
    ("the landmark transformer of MarioNETte", Transfer.TRANSFORMER.value),
]
_LAYOUTS = [
    ("the whole photo", Layout.PHOTO.value),
    ("the face alone", Layout.CROP.value),
    ("photo, driver and result side by side", Layout.GRID.value),
]


@dataclass(frozen=True)
class TargetPanel:
    """What the tabs use of the top of the page.

    Args:
        face: number from the left; 0 for the largest.
        chosen: changes when photos were chosen, after they are stored.
    """

    face: gr.Radio
    chosen: gr.State


def target_panel(sessions: Sessions, recorder: str) -> TargetPanel:
    """Photos, videos and person files, the faces in them, and which of these moves; `recorder` is for page.js."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            photos = gr.File(
                label="Photos, videos or person files of one person",
                file_count="multiple",
                file_types=[*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, PERSON_SUFFIX],
                height=150,
                elem_id="photos",
            )
            with gr.Row():
                example = gr.Button("Use the example photo", size="sm", elem_id="example-photo")
                record = gr.Button("Record 10 seconds of yourself", size="sm", elem_id="record")
            gr.HTML(recorder, js_on_load=None)
            recorded = gr.UploadButton("recording", elem_classes="re-hidden")  # page.js puts the recording into it
            status = gr.HTML(html.note(_ASK), elem_id="photos-said")
            face = gr.Radio([("the largest", 0)], value=0, label="Which face moves", visible=False, elem_id="face")
            crops = gr.HTML(elem_id="crops")
        with gr.Column(scale=3, min_width=280):
            marked = gr.HTML(elem_id="faces")
            with gr.Column(visible=False) as making:
                gr.Markdown(_PERSON, elem_id="person-about")
                tune = gr.Checkbox(label=_TUNE, elem_id="person-tune")
                with gr.Row():
                    make = gr.Button("Make a person of it", size="sm", elem_id="make-person")
                    stop = gr.Button("Cancel", size="sm", elem_id="person-cancel", interactive=False)
            said = gr.HTML(elem_id="person-said")
    chosen = gr.State(0)

    async def choose(paths: list[str] | None, count: int, request: gr.Request) -> tuple[Any, ...]:
        radio, hidden = gr.update(visible=False, value=0, choices=[("the largest", 0)]), gr.update(visible=False)
        session = sessions.of(request)
        if not paths:
            session.faces = []
            return "", "", radio, html.note(_ASK), count + 1, hidden, ""
        try:
            found = await sessions.choose(session, paths)
        except Exception as error:
            return "", "", radio, html.problem(html.sentence_of(error)), count + 1, hidden, ""
        most = max(len(one.boxes) for one in found)
        choices = [("the largest", 0), *((f"{n}, from the left", n) for n in range(1, most + 1))]
        about = [line for one in found for line in ("A person file.", *one.about) if one.about]
        text = html.note("\n".join([_ONE_OF_SEVERAL if most > 1 else _ONE, *map(html.capital, about)]))
        radio = gr.update(visible=most > 1, value=0, choices=choices)
        more = gr.update(visible=not about), gr.skip() if about else ""
        return _marked(found, 0), _crops(found, 0), radio, text, count + 1, *more

    async def use_example(request: gr.Request) -> list[str]:
        return [str(await sessions.example(sessions.of(request)))]

    def show(face: int, request: gr.Request) -> tuple[str, str]:
        found = sessions.of(request).faces
        return (_marked(found, face), _crops(found, face)) if found else ("", "")

    async def make_person(face: int, tuned: bool, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        session = sessions.of(request)
        yield {make: gr.update(interactive=False), stop: gr.update(interactive=True)}
        try:
            await sessions.clear(session, "person")
            job = await sessions.make_person(session, face or None, _TUNE_MINUTES if tuned else 0.0)
            async for record in sessions.follow(session, job):
                yield {said: html.job_progress(record)}
            path = await sessions.person_file(session, job)
            yield {photos: [str(path)], said: html.note(_MADE) + html.download(job.id, "Download the person file")}
        except Exception as error:
            yield {said: html.problem(html.sentence_of(error))}
        yield {make: gr.update(interactive=True), stop: gr.update(interactive=False)}

    async def cancel(request: gr.Request) -> None:
        await sessions.cancel(sessions.of(request), "person")

    shown = [marked, crops, face, status, chosen, making, said]
    photos.change(choose, [photos, chosen], shown, show_progress="minimal", **QUICK)
    record.click(None, js="() => { window.reenactorRecord(); }")
    recorded.upload(lambda path: [path], recorded, photos, show_progress="hidden", **QUICK)
    make.click(make_person, [face, tune], [make, stop, said, photos], show_progress="hidden", concurrency_limit=None)
    stop.click(cancel, None, None, show_progress="hidden", **QUICK)
    example.click(use_example, None, photos, show_progress="hidden", **QUICK)
    face.change(show, face, [marked, crops], show_progress="hidden", **QUICK)
    return TargetPanel(face, chosen)


def _marked(found: list[PhotoFaces], face: int) -> str:
    """The first photo with several faces, else the first, with a box around each face; page.js makes them clickable."""
    photo = next((one for one in found if len(one.boxes) > 1), found[0])
    number = face or photo.largest
    boxes = []
    for i, (left, top, right, bottom) in enumerate(photo.boxes, start=1):
        kind = ' class="re-chosen"' if i == number else ""
        label = f'<text x="{left}" y="{max(top, 40) - 8}">{i}</text>' if len(photo.boxes) > 1 else ""
        box = f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>'
        boxes.append(f'<g{kind} data-face="{i}">{box}{label}</g>')
    size = f'width="{photo.width}" height="{photo.height}"'
    image = f'<image {size} href="data:image/jpeg;base64,{photo.picture}"/>'
    return f'<svg viewBox="0 0 {photo.width} {photo.height}" aria-label="faces found">{image}{"".join(boxes)}</svg>'


def _crops(found: list[PhotoFaces], face: int) -> str:
    shown = []
    for i, one in enumerate(found, start=1):
        number = min(face or one.largest, len(one.crops))
        shown.append(html.picture(one.crops[number - 1], f"{'person' if one.about else 'photo'} {i}"))
    return f'<div class="re-crops">{"".join(shown)}</div>'


def motion_choice(elem_id: str) -> gr.Radio:
    """The motions that ship, or an own driver."""
    choices = [(name, name) for name in motion_names()]
    return gr.Radio([*choices, (OWN_DRIVER, OWN_DRIVER)], value="smile", label="Movement", elem_id=elem_id)


def model_choice(sessions: Sessions) -> gr.Dropdown:
    """The models whose weights are there; the others are named."""
    described = sessions.state.models()
    missing = described["missing"]
    info = f"Without weights here: {', '.join(missing)} (give some with --weights NAME=DIR)" if missing else None
    choices = [
        (name if one["trained"] else f"{name} (no training needed)", name) for name, one in described["models"].items()
    ]
    return gr.Dropdown(choices, value=choices[0][1], label="Model", info=info)


def animate_tab(sessions: Sessions, panel: TargetPanel) -> None:
    """Photos and a driver in, a video out."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            motion = motion_choice("animate-motion")
            driver = gr.File(
                label="Or your own driver: a video, a motion file or a photo",
                file_types=[*VIDEO_SUFFIXES, MOTION_SUFFIX, *IMAGE_SUFFIXES],
                height=150,
                elem_id="driver",
            )
            layout = gr.Radio(_LAYOUTS, value=Layout.PHOTO.value, label="Show", elem_id="layout")
            with gr.Accordion("More", open=False):
                model = model_choice(sessions)
                transfer = gr.Radio(_TRANSFERS, value=Transfer.PARTS.value, label="How the movement is carried over")
                head = gr.Slider(0, 100, 100, step=5, label="Head movement, percent of the driver's")
                strength = gr.Slider(0, 200, 100, step=5, label="Expression, percent of the driver's")
                smooth = gr.Checkbox(label="Steady a jittery driver")
                alpha = gr.Checkbox(label="Keep a cut-out photo's transparency (WebP, without sound)", elem_id="alpha")
                driver_face = gr.Number(
                    label="Which face of the driver, from the left (0: the largest)", value=0, precision=0, minimum=0
                )
            with gr.Row():
                go = gr.Button("Animate", variant="primary", elem_id="animate")
                stop = gr.Button("Cancel", elem_id="animate-cancel", interactive=False)
            status = gr.HTML(elem_id="animate-said")
        with gr.Column(min_width=280):
            result = gr.HTML(elem_id="result")
            origin = gr.Textbox(
                label="What the file says about its origin",
                visible=False,
                lines=8,
                elem_id="provenance",
                elem_classes="re-provenance",
            )

    async def run(
        face: int,
        motion: str,
        upload: str | None,
        layout: str,
        model: str,
        transfer: str,
        head: float,
        strength: float,
        smooth: bool,
        alpha: bool,
        driver_face: float,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:
        session = sessions.of(request)
        running = {go: gr.update(interactive=False), stop: gr.update(interactive=True)}
        yield {**running, result: "", origin: gr.update(visible=False)}
        try:
            await sessions.clear(session, "animate")
            sessions.target(session)
            async with sessions.driver(session, motion, upload) as source:
                job = await sessions.submit(
                    session,
                    "animate",
                    source,
                    model=model,
                    transfer=Transfer.PARTS if transfer == "keep" else Transfer(transfer),
                    keep_expression=transfer == "keep",
                    head_movement=head / 100,
                    strength=strength / 100,
                    layout=Layout(layout),
                    face=face or None,
                    driver_face=int(driver_face or 0) or None,
                    smooth=smooth,
                    format="webp" if alpha else "mp4",
                    alpha=alpha,
                )
            async for record in sessions.follow(session, job):
                yield {status: html.job_progress(record)}
            made = sessions.state.result(sessions.state.job(session.owner, job.id))
            text, _ = await sessions.state.checks.inspect(session.owner, made, "the result")
            yield {
                result: (html.moving_picture if alpha else html.video)(job.id) + html.download(job.id, "Download"),
                origin: gr.update(value=text, visible=True),
                status: html.job_report(record),
            }
        except Exception as error:
            yield {status: html.problem(html.sentence_of(error))}
        yield {go: gr.update(interactive=True), stop: gr.update(interactive=False)}

    async def cancel(request: gr.Request) -> None:
        await sessions.cancel(sessions.of(request), "animate")

    inputs = [panel.face, motion, driver, layout, model, transfer, head, strength, smooth, alpha, driver_face]
    go.click(run, inputs, [go, stop, status, result, origin], show_progress="hidden", concurrency_limit=None)
    stop.click(cancel, None, None, show_progress="hidden", **QUICK)
    driver.upload(lambda: OWN_DRIVER, None, motion, show_progress="hidden", **QUICK)


def live_tab(sessions: Sessions, panel: TargetPanel, body: str) -> None:
    """The camera drives the photo; page.js speaks the API's live protocol."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=240):
            model = model_choice(sessions)
            start = gr.Button("Start the camera", variant="primary", elem_id="live-start")
            status = gr.HTML(elem_id="live-said")
            gr.Markdown(
                "Look straight ahead when it starts: the photo's head turns as yours does from there. What your face "
                "is like at rest is learned while you move; *This is my neutral face* says it at once."
            )
        with gr.Column(scale=2, min_width=280):
            gr.HTML(body, js_on_load=None)
    address = gr.Textbox(visible=False)

    def prepare(face: int, model: str, request: gr.Request) -> tuple[str, str]:
        try:
            target = sessions.target(sessions.of(request))
        except Exception as error:
            return "", html.problem(html.sentence_of(error))
        options = {"mirror": True, "model": model, "size": "photo", "max_side": LIVE_SIDE_PX}
        if face:
            options["face"] = face
        return f"v1/live/{target.id}?{urlencode(options)}", ""

    start.click(prepare, [panel.face, model], [address, status], show_progress_on=status, **QUICK).then(
        None, address, None, js="(address) => { window.reenactorLive.start(address); }"
    )


def inspect_tab(sessions: Sessions) -> None:
    """What a file says about its origin."""
    gr.Markdown(
        "Is a picture or video synthetic, who made it, and was it changed since? Any file that carries Content "
        "Credentials (C2PA) can be inspected. That a file says nothing does not mean that it is real."
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            file = gr.File(label="A picture or video", height=150, elem_id="inspect-file")
        with gr.Column(min_width=280):
            status = gr.HTML(elem_id="inspect-said")
            details = gr.Textbox(
                label="In full", lines=9, visible=False, elem_id="inspect-details", elem_classes="re-provenance"
            )

    async def inspect(upload: str | None, request: gr.Request) -> tuple[str, Any]:
        if not upload:
            return "", gr.update(visible=False)
        try:
            text, tampered = await sessions.state.checks.inspect(
                sessions.of(request).owner, Path(upload), Path(upload).name
            )
        except Exception as error:
            return html.problem(html.sentence_of(error)), gr.update(visible=False)
        verdict, _, rest = text.partition("\n")
        box = html.problem if tampered else html.note
        return box(verdict), gr.update(value=rest, visible=bool(rest))

    file.change(inspect, file, [status, details], show_progress="minimal", **QUICK)
