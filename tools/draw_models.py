"""Draws `docs/assets/models.webp`: what models make of one photo, in the moments where they differ most.

python tools/draw_models.py
python tools/draw_models.py --photo me.jpg --model warp --model hybrid=runs/hybrid/model --out me.webp
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from reenactor.core import OUTER_EYE_CORNERS
from reenactor.engine import Reenactor
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.face.geometry import turned
from reenactor.face.geometry.contours import INNER_LIPS_LOWER, INNER_LIPS_UPPER, LEFT_EYE, RIGHT_EYE
from reenactor.face.retarget import DriverRest
from reenactor.media import read_image, read_motion
from reenactor.models import METHODS

OUT = Path(__file__).parents[1] / "docs/assets/models.webp"
TURN_DEG = 20.0
LABEL_PX = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, action="append", help="repeat it for more rows (default: the demo photo)")
    parser.add_argument("--model", action="append", metavar="NAME[=DIR]", help="repeat it (default: all that draw)")
    parser.add_argument("--tile", type=int, default=192, help="side at which faces are shown")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    photos = [read_image(path) for path in options.photo or ()] or [demo_photo()]
    rows = [
        (name, moments(Reenactor(name, weights=folder or None), photo))
        for photo in photos
        for name, _, folder in (given.partition("=") for given in options.model or METHODS)
    ]
    sheet = contact_sheet([(name, list(row)) for name, row in rows], options.tile)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, quality=90)
    print(f"{options.out} ({options.out.stat().st_size / 1024:.0f} KiB)")


def moments(reenactor: Reenactor, photo: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(name, drawn face) of each."""
    target = reenactor.set_target([photo])
    photo_mesh = target.mesh_px
    yield "photo", target.crop.cut(photo)
    talk, smile, blink = (read_motion(shipped_motions()[name]).mesh_px for name in ("talk", "smile", "blink"))
    found = {
        "talk, widest": (talk, int(np.argmax([mouth_opening(mesh) for mesh in talk]))),
        "smile, widest": (smile, int(np.argmax([mouth_width(mesh) for mesh in smile]))),
        "blink, most closed": (blink, int(np.argmin([eye_opening(mesh) for mesh in blink]))),
    }
    target_px = {}
    for name, (motion, number) in found.items():
        target_px[name] = reenactor.retargeter(DriverRest.of_clip(motion))(motion[number])
        yield name, reenactor.draw(target_px[name])
    for name, mesh in (("", photo_mesh), ("talk, ", target_px["talk, widest"])):
        for side, degrees in (("one way", -TURN_DEG), ("the other", TURN_DEG)):
            yield f"{name}turned {side}", reenactor.draw(turned(mesh, np.array([degrees, 0.0, 0.0])))


def mouth_opening(mesh: np.ndarray) -> float:
    return distance(mesh, INNER_LIPS_UPPER[5], INNER_LIPS_LOWER[5]) / distance(mesh, *OUTER_EYE_CORNERS)


def mouth_width(mesh: np.ndarray) -> float:
    return distance(mesh, INNER_LIPS_UPPER[0], INNER_LIPS_UPPER[-1]) / distance(mesh, *OUTER_EYE_CORNERS)


def eye_opening(mesh: np.ndarray) -> float:
    return sum(float(np.ptp(mesh[list(eye), 1])) for eye in (LEFT_EYE, RIGHT_EYE)) / distance(mesh, *OUTER_EYE_CORNERS)


def distance(mesh: np.ndarray, a: int, b: int) -> float:
    return float(np.linalg.norm(mesh[a] - mesh[b]))


def contact_sheet(rows: list[tuple[str, list[tuple[str, np.ndarray]]]], tile: int) -> Image.Image:
    """A row for each model, a column for each moment."""
    height = tile + LABEL_PX
    sheet = Image.new("RGB", (tile * len(rows[0][1]), height * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (model, faces) in enumerate(rows):
        for column, (moment, face) in enumerate(faces):
            draw.text((column * tile + 3, row * height + 2), f"{model}: {moment}", fill="black")
            shown = Image.fromarray(face).resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(shown, (column * tile, row * height + LABEL_PX))
    return sheet


if __name__ == "__main__":
    main()
