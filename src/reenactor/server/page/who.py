"""The top of the page: whose photos move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from reenactor.media import IMAGE_SUFFIXES
from reenactor.server.page.desk import Desk
from reenactor.server.page.events import QUICK
from reenactor.server.page.faces import SeenPhoto
from reenactor.server.page.words import note, picture, problem

_ASK = "One to eight photos of one person; the first is the picture that moves."
_ONE_OF_SEVERAL = "Several faces: click the one that shall move, or choose its number."
_ONE = "This face will move."


@dataclass(frozen=True)
class Who:
    """What the tabs take from it.

    Args:
        photos: paths of files.
        face: number from the left; 0 for the largest.
        example: the button that fills in the example photo.
    """

    photos: gr.File
    face: gr.Radio
    example: gr.Button


def build(desk: Desk) -> Who:
    """Photos, the faces in them, and which of these moves."""
    seen = gr.State([])
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            photos = gr.File(
                label="Photos of one person",
                file_count="multiple",
                file_types=list(IMAGE_SUFFIXES),
                height=150,
                elem_id="photos",
            )
            example = gr.Button("Use the example photo", size="sm", elem_id="example-photo")
            said = gr.HTML(note(_ASK), elem_id="photos-said")
            face = gr.Radio([("the largest", 0)], value=0, label="Which face moves", visible=False, elem_id="face")
            crops = gr.HTML(elem_id="crops")
        with gr.Column(scale=3, min_width=280):
            marked = gr.Image(
                label="Faces found",
                interactive=False,
                visible=False,
                height=330,
                buttons=[],
                elem_id="faces",
                format="jpeg",
            )
    found = [seen, marked, crops, face, said]
    photos.change(_looking(desk), photos, found, show_progress="minimal", **QUICK)
    example.click(lambda: [str(desk.example_photo())], None, photos, show_progress="hidden", **QUICK)
    marked.select(_clicked, seen, face, show_progress="hidden", **QUICK)
    face.change(_chosen, [seen, face], [marked, crops], show_progress="hidden", **QUICK)
    return Who(photos, face, example)


def _looking(desk: Desk) -> Callable[[list[str] | None], tuple[Any, ...]]:
    def look(photos: list[str] | None) -> tuple[Any, ...]:
        hidden = gr.update(visible=False)
        radio = gr.update(visible=False, value=0, choices=[("the largest", 0)])
        if not photos:
            return [], hidden, "", radio, note(_ASK)
        try:
            seen = desk.looker.look(photos)
        except Exception as error:
            return [], hidden, "", radio, problem(desk.sentence(error))
        most = max(len(one.meshes) for one in seen)
        choices = [("the largest", 0), *((f"{n}, from the left", n) for n in range(1, most + 1))]
        said = _ONE_OF_SEVERAL if most > 1 else _ONE
        pictures = _pictures(seen, 0)
        return seen, *pictures, gr.update(visible=most > 1, value=0, choices=choices), note(said)

    return look


def _clicked(seen: list[SeenPhoto], where: gr.SelectData) -> int:
    if not seen:
        return 0
    x, y = where.index
    return _shown(seen).face_at(x, y)


def _chosen(seen: list[SeenPhoto], face: int) -> tuple[Any, str]:
    return _pictures(seen, face) if seen else (gr.update(visible=False), "")


def _pictures(seen: list[SeenPhoto], face: int) -> tuple[Any, str]:
    marked = _shown(seen).with_boxes(face or None)
    crops = [picture(one.crop(face or None), f"photo {number}") for number, one in enumerate(seen, start=1)]
    return gr.update(value=marked, visible=True), f'<div class="re-crops">{"".join(crops)}</div>'


def _shown(seen: list[SeenPhoto]) -> SeenPhoto:
    """The first photo with several faces, else the first."""
    return next((one for one in seen if len(one.meshes) > 1), seen[0])
