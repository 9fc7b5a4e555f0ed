"""Tab: the same photo and driver, drawn in several ways."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr

from reenact.core import ReenactError
from reenact.core.progress import Progress
from reenact.inference import animate
from reenact.serve.web.desk import Desk, Person
from reenact.serve.web.tab_animate import driver_file, motion_choice
from reenact.serve.web.who import Who
from reenact.serve.web.words import note, problem, progress

TAB = "compare"
MOST = 4
_SIZE_PX = 256


def build(desk: Desk, who: Who) -> None:
    """The tab's parts, and what they do."""
    ways = [
        f"{model}, {transfer}" for model, transfer in product(desk.models(), ("relative", "absolute", "transformer"))
    ]
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            chosen = gr.CheckboxGroup(
                ways, value=ways[:2], label=f"Ways to draw (two to {MOST})", elem_id="compare-ways",
                info="Model, and how the movement is carried over: relative adds the driver's change, absolute copies "
                "its face, transformer replaces the photo's expression.",
            )  # fmt: skip
        with gr.Column(min_width=280):
            motion = motion_choice(desk, "compare-motion")
            driver = gr.File(label="Or your own driver", height=150)
    with gr.Row():
        go = gr.Button("Compare", variant="primary", elem_id="compare")
        stop = gr.Button("Cancel", interactive=False)
    said = gr.HTML(elem_id="compare-said")
    with gr.Row():
        results = [
            gr.Video(visible=False, autoplay=True, loop=True, buttons=["download"], height=300, min_width=240)
            for _ in range(MOST)
        ]

    def run(
        photos: list[str] | None, face: int, ways: list[str], motion: str, driver: str | None, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        visitor = str(request.session_hash)
        yield {go: gr.update(interactive=False), stop: gr.update(interactive=True)}
        try:
            if not 2 <= len(ways) <= MOST:
                raise ReenactError(f"{len(ways)} ways are chosen; choose two to {MOST}")
            person = Person.of(photos, face)
            source = driver_file(desk, motion, driver)
            outputs = [desk.new_file(visitor, f"{way.replace(', ', '-')}.mp4") for way in ways]

            def job(told: Progress) -> None:
                targets = [Path(photo) for photo in person.photos]
                for way, output in zip(ways, outputs, strict=True):
                    model, transfer = way.split(", ")
                    options = desk.options(model, transfer, "crop", face=person.face, size=_SIZE_PX)
                    animate(targets, source, output, options, credentials=desk.credentials, progress=_Named(told, way))

            work = desk.begin(visitor, TAB, job)
            try:
                for what, share in work.watch():
                    yield {said: progress(what, share)}
            finally:
                work.cancel()
            work.result()
            # All at once, so that they begin, and repeat, together.
            named = [*zip(ways, outputs, strict=True), *[None] * (MOST - len(ways))]
            shown = {
                place: gr.update(visible=False, value=None)
                if one is None
                else gr.update(visible=True, value=str(one[1]), label=one[0])
                for place, one in zip(results, named, strict=True)
            }
            yield {**shown, said: note("Each video is signed as synthetic, like every result.")}
        except Exception as error:
            yield {said: problem(desk.sentence(error))}
        yield {go: gr.update(interactive=True), stop: gr.update(interactive=False)}

    def cancel(request: gr.Request) -> None:
        desk.cancel(str(request.session_hash), TAB)

    go.click(
        run, [who.photos, who.face, chosen, motion, driver], [go, stop, said, *results],
        show_progress="hidden", concurrency_limit=1, concurrency_id="work",
    )  # fmt: skip
    stop.click(cancel, None, None, queue=False, show_progress="hidden")
    driver.upload(lambda: "my file", None, motion, show_progress="hidden")


class _Named:
    """Progress with the way's name before each stage."""

    def __init__(self, told: Progress, name: str) -> None:
        self._told, self._name = told, name
        self.step, self.end = told.step, told.end

    def start(self, what: str, done: int, total: int | None) -> None:
        self._told.start(f"{self._name}: {what}", done, total)
