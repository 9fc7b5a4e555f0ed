"""Draws `docs/assets/maps.png`: all maps of the demo photo, with their names.

python tools/draw_maps.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from reenactor.core import Landmarks
from reenactor.engine.shipped import demo_photo
from reenactor.face import maps
from reenactor.face.geometry import face_crop
from reenactor.face.perception import FaceFinder

OUT = Path(__file__).parents[1] / "docs/assets/maps.png"
COLUMNS = 9
CROP_SCALE = 1.4
"""Tighter than models see it, so that eyes and lips are large enough to judge."""
PART_COLOURS = (
    *((51, 51, 51), (255, 255, 0), (255, 0, 0), (0, 0, 255), (0, 255, 0)),
    *((255, 0, 255), (0, 255, 255), (255, 255, 255), (255, 128, 0)),
)
LABEL_PX = 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="a photo with a face (default: the demo photo)")
    parser.add_argument("--size", type=int, default=256, help="size at which the maps are made")
    parser.add_argument("--tile", type=int, default=128, help="size at which they are shown")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    photo = demo_photo() if options.photo is None else np.asarray(Image.open(options.photo).convert("RGB"))
    sheet = contact_sheet(photo, options.size, options.tile)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, optimize=True)
    print(f"{options.out} ({options.out.stat().st_size / 1024:.0f} KiB)")


def contact_sheet(photo: np.ndarray, size: int, tile: int) -> Image.Image:
    """Every map of the photo's face as a labelled tile."""
    with FaceFinder() as finder:
        landmarks = finder.observe(photo).landmarks
    crop = face_crop(landmarks.mesh, size=size, scale=CROP_SCALE)
    tiles = map_tiles(crop.cut(photo), Landmarks(crop.to_crop(landmarks.mesh)))
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * tile, rows * (tile + LABEL_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, picture) in enumerate(tiles):
        left, top = i % COLUMNS * tile, i // COLUMNS * (tile + LABEL_PX)
        draw.text((left + 2, top + 1), name, fill="black")
        sheet.paste(Image.fromarray(picture).resize((tile, tile), Image.Resampling.BOX), (left, top + LABEL_PX))
    return sheet


def map_tiles(photo: np.ndarray, landmarks: Landmarks) -> list[tuple[str, np.ndarray]]:
    """Names and (size, size, 3) uint8 pictures: the photo and all maps of its face."""
    size = len(photo)
    mesh, ibug68 = torch.tensor(landmarks.mesh)[None], torch.tensor(landmarks.ibug68)[None]
    parsing = maps.parsing_map(mesh, size)
    boundaries = maps.boundary_maps(mesh, size)
    picture = torch.tensor(photo).permute(2, 0, 1) / 255
    parts = picture
    for part, colour in zip(parsing[0], PART_COLOURS, strict=True):
        parts = parts.lerp(torch.tensor(colour)[:, None, None] / 255, part * 0.5)
    planes = {
        "photo": picture,
        "parsing map on it": parts,
        "raster": (maps.landmark_raster(ibug68, size) + 1) / 2,
        "raster, irises": (maps.landmark_raster(mesh, size, irises=True) + 1) / 2,
        "all boundaries": boundaries[:, :15].amax(1),
        "part weights / 8.5": maps.part_weights(parsing) / 8.5,
        "hull weights / 3": (1 + 2 * maps.hull_mask(ibug68, size)) / 3,
        "face mask": maps.face_mask(mesh, size),
        **{f"p{i} {short(name)}": parsing[:, i] for i, name in enumerate(maps.PARSING_CHANNELS)},
        **{f"b{i} {short(name)}": boundaries[:, i] for i, name in enumerate(maps.BOUNDARY_CHANNELS)},
    }
    return [(name, to_uint8(plane)) for name, plane in planes.items()]


def short(name: str) -> str:
    return name.replace("image_", "").replace("_", " ")


def to_uint8(plane: torch.Tensor) -> np.ndarray:
    picture = plane.reshape(-1, *plane.shape[-2:]).expand(3, -1, -1)
    return (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


if __name__ == "__main__":
    main()
