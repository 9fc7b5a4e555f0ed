"""The tab Compare: the same photo and driver, in several variants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import product
from typing import Any

import gradio as gr

from reenactor.core.errors import ReenactError
from reenactor.core.options import Layout, Transfer
from reenactor.server.page import html
from reenactor.server.page.session import OWN_DRIVER, Session, Sessions
from reenactor.server.page.tabs import QUICK, TargetPanel, motion_choice
from reenactor.server.state import Driver
from reenactor.server.store import new_id

MAX_VARIANTS = 4
_SIZE_PX = 256
_ORIGIN = (
    "Bright areas of the photos went into the picture at this moment, dark ones did not. *Taken over*: pixels that "
    "were moved into the picture; the rest of it is painted. *Looked at*: areas that the network reads while it draws."
)
_NO_ORIGIN = "None of the variants chosen knows where in the photos its pictures come from; choose one of the hybrid."


def build(sessions: Sessions, panel: TargetPanel) -> None:
    """The tab's components and handlers."""
    models = sessions.state.models()["models"]
    transfers = [one.value for one in Transfer]
    variants = {f"{model}, {transfer}": (model, transfer) for model, transfer in product(models, transfers)}
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            chosen = gr.CheckboxGroup(
                list(variants),
                value=list(variants)[:: len(transfers)][:2],
                label=f"Variants (two to {MAX_VARIANTS})",
                elem_id="compare-ways",
                info="Model, and how the movement is carried over: relative adds the driver's change, absolute copies "
                "its face, transformer replaces the photo's expression.",
            )
        with gr.Column(min_width=280):
            motion = motion_choice("compare-motion")
            driver = gr.File(label="Or your own driver", height=150)
    with gr.Row():
        go = gr.Button("Compare", variant="primary", elem_id="compare")
        stop = gr.Button("Cancel", interactive=False)
    status = gr.HTML(elem_id="compare-said")
    results = gr.HTML(elem_id="compare-results")
    with gr.Column(visible=False) as origin:
        gr.Markdown(f"### Where the picture comes from\n{_ORIGIN}", elem_id="compare-origin")
        moment = gr.Slider(0, 1, step=0.01, label="Moment (seconds)", elem_id="compare-moment", buttons=[])
        origins = gr.HTML(elem_id="compare-origins")

    def options_of(variant: str) -> dict[str, Any]:
        model, transfer = variants[variant]
        # The same size where a model works at any, else the one it was trained at.
        size = _SIZE_PX if models[model]["any_resolution"] else None
        return {"model": model, "transfer": Transfer(transfer), "size": size}

    async def run(
        face: int, names: list[str], motion: str, upload: str | None, request: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        session = sessions.of(request)
        session.comparison = None
        yield {go: gr.update(interactive=False), stop: gr.update(interactive=True), origin: gr.update(visible=False)}
        try:
            await sessions.clear(session, "compare")
            if not 2 <= len(names) <= MAX_VARIANTS:
                raise ReenactError(f"{len(names)} variants are chosen; choose two to {MAX_VARIANTS}")
            chosen_variants = {name: options_of(name) for name in names}
            sessions.target(session)
            async with sessions.driver(session, motion, upload) as source:
                jobs = []
                for options in chosen_variants.values():
                    copied = await asyncio.to_thread(source.copy, sessions.state.store.new_upload())
                    shown = {"layout": Layout.CROP, "face": face or None, **options}
                    jobs.append(await sessions.submit(session, "compare", copied, **shown))
                for name, job in zip(names, jobs, strict=True):
                    async for record in sessions.follow(session, job):
                        yield {status: html.job_progress(record, f"{name}: ")}
                # All at once, so that they start, and repeat, together.
                videos = [html.video(job.id, name) for name, job in zip(names, jobs, strict=True)]
                yield {results: f'<div class="re-videos">{"".join(videos)}</div>'}
                session.comparison = token = new_id()
                progress: list[Any] = ["finding where the pictures come from", 0, None]

                def reported(*now: Any) -> bool:
                    progress[:] = now if now[0] else progress
                    return session.comparison == token

                work = asyncio.create_task(_origins(sessions, session, face, chosen_variants, source, reported))
                try:
                    while not work.done():
                        text, done, total = progress
                        yield {status: html.progress(text, done / total if total else None)}
                        await asyncio.wait((work,), timeout=0.25)
                finally:
                    if not work.done():
                        session.comparison = None
                found = work.result()
            signed = "Each video is signed as synthetic, like every result."
            yield {status: html.note(f"{signed}\n{found}" if isinstance(found, str) else signed)}
            if isinstance(found, list) and session.comparison is not None:
                middle_s = round(found[len(found) // 2], 2)
                drawn = await sessions.previews.origins_at(session.comparison, middle_s)
                yield {
                    origin: gr.update(visible=True),
                    # A photo that drives has one moment, and a slider must have two.
                    moment: gr.update(value=middle_s, maximum=round(found[-1], 2) or 1, visible=len(found) > 1),
                    origins: drawn,
                }
        except Exception as error:
            await sessions.cancel(session, "compare")
            yield {status: html.problem(html.sentence_of(error))}
        yield {go: gr.update(interactive=True), stop: gr.update(interactive=False)}

    async def cancel(request: gr.Request) -> None:
        session = sessions.of(request)
        session.comparison = None
        await sessions.cancel(session, "compare")

    async def show(moment_s: float, request: gr.Request) -> str:
        token = sessions.of(request).comparison
        if token is None:
            return ""
        try:
            return await sessions.previews.origins_at(token, moment_s)
        except ReenactError as error:
            return html.problem(html.sentence_of(error))

    go.click(
        run,
        [panel.face, chosen, motion, driver],
        [go, stop, status, results, origin, moment, origins],
        show_progress="hidden",
        concurrency_limit=None,
    )
    stop.click(cancel, None, None, show_progress="hidden", **QUICK)
    moment.input(show, moment, origins, show_progress="hidden", trigger_mode="always_last", **QUICK)
    driver.upload(lambda: OWN_DRIVER, None, motion, show_progress="hidden", **QUICK)


async def _origins(
    sessions: Sessions,
    session: Session,
    face: int,
    variants: dict[str, dict[str, Any]],
    driver: Driver,
    reported: Callable[..., bool],
) -> list[float] | str:
    """Prepare the heat maps of `session.comparison`: the driver's times, or a sentence why there are none.

    That they fail takes no video away.
    """
    store, target = sessions.state.store, sessions.target(session)
    request = {
        "token": session.comparison,
        "photos": [str(photo) for photo in store.photos(target)],
        "face": face or None,
        "variants": variants,
        "driver": str(driver.file),
        "folder": str(store.target_folder(target.id) / new_id()),  # deleted with the photos
    }
    try:
        found = await sessions.previews.origins(request, reported)
    except ReenactError as error:
        found = f"Where the pictures come from cannot be shown. {html.sentence_of(error)}"
    if session.comparison is None:
        return "Stopped before it was known where the pictures come from."
    return _NO_ORIGIN if found is None else found
