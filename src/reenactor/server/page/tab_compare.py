"""Tab: the same photo and driver, drawn in several ways."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr

from reenactor.core import ReenactError, Transfer
from reenactor.core.progress import Progress
from reenactor.engine import Reenactor, animate
from reenactor.models import METHODS
from reenactor.server.page.desk import Desk, Person
from reenactor.server.page.events import QUICK
from reenactor.server.page.origins import HEAT_PX, Origins, origins_of
from reenactor.server.page.tab_animate import driver_file, motion_choice
from reenactor.server.page.who import Who
from reenactor.server.page.words import followed, note, problem
from reenactor.server.page.work import CancelledError

TAB = "compare"
MOST = 4
_SIZE_PX = 256
_TRANSFERS = ("relative", "absolute", "transformer")
_ORIGIN = (
    "Bright places of the photos went into the picture at this moment, dark ones did not. *Taken over*: pixels that "
    "were moved into the picture; the rest of it is painted. *Looked at*: places that the network reads while it draws."
)
_NO_ORIGIN = (
    "None of the ways chosen can tell which places of the photos its pictures come from; choose one of the hybrid."
)


def build(desk: Desk, who: Who) -> None:
    """The tab's parts, and what they do."""
    ways = [f"{model}, {transfer}" for model, transfer in product(desk.models(), _TRANSFERS)]
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            chosen = gr.CheckboxGroup(
                ways, value=ways[:: len(_TRANSFERS)][:2], label=f"Ways to draw (two to {MOST})", elem_id="compare-ways",
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
    with gr.Column(visible=False) as origin:
        gr.Markdown(f"### Where the picture comes from\n{_ORIGIN}", elem_id="compare-origin")
        moment = gr.Slider(0, 1, step=0.01, label="Moment (seconds)", elem_id="compare-moment", buttons=[])
        origin_of_ways = gr.HTML(elem_id="compare-origins")

    def run(
        photos: list[str] | None, face: int, ways: list[str], motion: str, driver: str | None, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        visitor = str(request.session_hash)
        desk.keep(visitor, TAB, None)
        yield {go: gr.update(interactive=False), stop: gr.update(interactive=True), origin: gr.update(visible=False)}
        try:
            if not 2 <= len(ways) <= MOST:
                raise ReenactError(f"{len(ways)} ways are chosen; choose two to {MOST}")
            person = Person.of(photos, face)
            source = driver_file(desk, motion, driver)
            outputs = [desk.new_file(visitor, f"{way.replace(', ', '-')}.mp4") for way in ways]

            def job(told: Progress) -> Origins | str:
                targets = [Path(photo) for photo in person.photos]
                for way, output in zip(ways, outputs, strict=True):
                    model, transfer = way.split(", ")
                    options = desk.options(model, transfer, "crop", face=person.face, size=_side_px(model))
                    animate(targets, source, output, options, credentials=desk.credentials, progress=_Named(told, way))
                return origins_or_why_not(desk, ways, person, source, desk.new_file(visitor, "driver"), told)

            found = yield from followed(desk.begin(visitor, TAB, job), said)
            # All at once, so that they begin, and repeat, together.
            named = [*zip(ways, outputs, strict=True), *[None] * (MOST - len(ways))]
            shown = {
                place: gr.update(visible=False, value=None)
                if one is None
                else gr.update(visible=True, value=str(one[1]), label=one[0])
                for place, one in zip(results, named, strict=True)
            }
            signed = "Each video is signed as synthetic, like every result."
            yield {**shown, said: note(f"{signed}\n{found}" if isinstance(found, str) else signed)}
            if not isinstance(found, str):
                desk.keep(visitor, TAB, found)
                times_s = found.times_s
                middle_s = round(float(times_s[len(times_s) // 2]), 2)
                yield {
                    origin: gr.update(visible=True),
                    # A photo that drives has one moment, and a slider must have two.
                    moment: gr.update(
                        value=middle_s, maximum=round(float(times_s[-1]), 2) or 1, visible=len(times_s) > 1
                    ),
                    origin_of_ways: found.at(middle_s),
                }
        except Exception as error:
            yield {said: problem(desk.sentence(error))}
        yield {go: gr.update(interactive=True), stop: gr.update(interactive=False)}

    def cancel(request: gr.Request) -> None:
        desk.cancel(str(request.session_hash), TAB)

    def look(moment_s: float, request: gr.Request) -> str:
        origins: Origins | None = desk.kept(str(request.session_hash), TAB)
        with desk.drawing:
            return "" if origins is None else origins.at(moment_s)

    go.click(
        run, [who.photos, who.face, chosen, motion, driver],
        [go, stop, said, *results, origin, moment, origin_of_ways],
        show_progress="hidden", concurrency_limit=1, concurrency_id="work",
    )  # fmt: skip
    stop.click(cancel, None, None, show_progress="hidden", **QUICK)
    moment.input(look, moment, origin_of_ways, show_progress="hidden", trigger_mode="always_last", **QUICK)
    driver.upload(lambda: "my file", None, motion, show_progress="hidden", **QUICK)


def origins_or_why_not(
    desk: Desk, ways: list[str], person: Person, source: Path, folder: Path, told: Progress
) -> Origins | str:
    """Where the pictures of finished videos come from, or a sentence why that is not told: it costs no video."""
    try:
        crops = [one.crop(person.face, HEAT_PX) for one in desk.looker.look(person.photos)]
        targets = [Path(photo) for photo in person.photos]
        origins = origins_of(_reenactors(desk, ways), targets, person.face, crops, source, folder, told)
    except CancelledError:
        return "Stopped before it was known where the pictures come from."
    except ReenactError as error:
        return f"Where the pictures come from cannot be shown. {desk.sentence(error)}"
    return _NO_ORIGIN if origins is None else origins


def _side_px(model: str) -> int | None:
    """Alike where a model does not mind; else what it was trained at."""
    return _SIZE_PX if METHODS[model].model.needs.any_resolution else None


def _reenactors(desk: Desk, ways: list[str]) -> Iterator[tuple[str, Reenactor]]:
    for way in ways:
        model, transfer = way.split(", ")
        weights = desk.settings.weights.get(model)
        yield way, Reenactor(model, transfer=Transfer(transfer), weights=weights, size=_side_px(model))


class _Named:
    """Progress with the way's name before each stage."""

    def __init__(self, told: Progress, name: str) -> None:
        self._told, self._name = told, name
        self.step, self.end = told.step, told.end

    def start(self, what: str, done: int, total: int | None) -> None:
        self._told.start(f"{self._name}: {what}", done, total)
