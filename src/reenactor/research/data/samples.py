"""What photos and clips share on their way to samples: networks, measures, what is told of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from reenactor.core import NoFaceError
from reenactor.face.geometry import Crop, head_angles
from reenactor.face.perception import FaceFinder, FaceMesher, FaceTracker
from reenactor.face.perception.identity import IdentityEmbedder
from reenactor.research.data.items import Item
from reenactor.research.data.parcel import PackedSample

MIN_FACE_PX = 32
"""Longer side of the mesh's box in the source; below, landmarks and pixels are guesswork."""


class Tools:
    """The networks; loading takes seconds, so a process keeps them."""

    def __init__(self) -> None:
        self.finder = FaceFinder()
        self.tracker = FaceTracker()
        self.mesher = FaceMesher()
        self.embedder = IdentityEmbedder()


@cache
def tools() -> Tools:
    """This process' own."""
    return Tools()


@dataclass(frozen=True)
class Measures:
    """How good a sample is.

    Args:
        faces: the most that were seen in one of the frames looked at.
        score: mean confidence of detector (photos) or mesh network (clips).
        face_share: of the frames, where the face was found.
        sharpness: see `sharpness`.
        embedding: of who it is; the mean over the frames looked at.
    """

    faces: int
    score: float
    face_share: float
    sharpness: float
    embedding: Float32[np.ndarray, "128"]


def sharpness(image: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"]) -> float:
    """Variance of the Laplacian over the variance of the brightness, inside the face: contrast cancels out."""
    inside = np.zeros(image.shape[:2], np.uint8)
    hull = cv2.convexHull(np.round(mesh_px[:, :2]).astype(np.int32))
    cv2.fillConvexPoly(inside, hull, (1,))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    values = cv2.Laplacian(grey, cv2.CV_32F)[inside > 0]
    spread = float(grey[inside > 0].var()) if len(values) else 0.0
    return float(values.var()) / spread if spread > 1 else 0.0


def meta_of(
    item: Item,
    source: str,
    crop: Crop,
    picture_px: tuple[int, int],
    mesh_px: Float[np.ndarray, "t 478 3"],
    measures: Measures,
) -> dict[str, Any]:
    """What KEY.json tells; clips add times."""
    poses = head_angles(mesh_px).reshape(-1, 3)
    rows, columns = crop.inside(*picture_px)
    real = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)
    boxes = np.ptp(mesh_px[..., :2], axis=1).max(axis=1)
    return {
        "item": item.key,
        "kind": item.kind.value,
        "identity": item.identity,
        "split": item.split.value,
        "source": source,
        "about": item.about,
        "frames": len(mesh_px),
        "size": crop.size,
        "crop": {"left": crop.left, "top": crop.top, "side": crop.side},
        "picture_px": list(picture_px),
        "face_px": round(float(np.median(boxes)) / crop.scale, 1),
        "padding": round(1 - real / crop.side**2, 4),
        "sharpness": round(measures.sharpness, 4),
        "faces": measures.faces,
        "face_share": round(measures.face_share, 4),
        "score": round(measures.score, 4),
        "pose_deg": np.round(poses.astype(np.float64), 1).tolist(),
    }


def packed_sample(key: str, meta: dict[str, Any], members: dict[str, bytes], measures: Measures) -> PackedSample:
    """Members in the order they have in the tar file, and the index row."""
    meta = {"key": key} | meta
    poses = np.array(meta["pose_deg"])
    seconds = float(meta["end_pts"] * Fraction(meta["time_base"])) if "pts" in meta else 0.0
    same = ("key", "item", "kind", "identity", "split", "source", "frames", "face_px", "padding", "sharpness")
    row = {name: meta[name] for name in (*same, "faces", "face_share", "score")}
    row |= {
        "licence": meta["about"].get("licence", ""),
        "origin": meta["about"].get("source", ""),
        "fps": round(meta["frames"] / seconds, 4) if seconds else 0.0,
        "duration_s": round(seconds, 6),
    }
    for axis, angles in zip(("yaw", "pitch", "roll"), poses.T, strict=True):
        row |= {f"{axis}_{name}": round(float(f(angles)), 2) for name, f in _STATISTICS.items()}
    row["embedding"] = [float(x) for x in measures.embedding]
    return PackedSample(row, {**members, "json": json_bytes(meta)})


_STATISTICS = {"mean": np.mean, "min": np.min, "max": np.max}


def json_bytes(meta: dict[str, Any]) -> bytes:
    """KEY.json."""
    return json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode()


def check_size(face_px: float, source: str) -> None:
    """Raise NoFaceError for a face too small to learn from."""
    if face_px < MIN_FACE_PX:
        raise NoFaceError(f"the face in {source} is only {face_px:.0f} pixels large; use one of {MIN_FACE_PX} or more")


def face_px_of(mesh: Float[np.ndarray, "478 3"]) -> float:
    """Longer side of the mesh's box."""
    return float(np.ptp(mesh[:, :2], axis=0).max())


def box_px(
    box: Float[np.ndarray, "4"], picture: UInt8[np.ndarray, "h w 3"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Fractions of the picture -> left top and right bottom in pixels."""
    size = np.array([picture.shape[1], picture.shape[0]])
    return box[:2] * size - 0.5, (box[:2] + box[2:]) * size - 0.5


def in_box(mesh: Float[np.ndarray, "478 3"], low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the face's middle lies in the box, a quarter larger: boxes of data sets are rough."""
    room = (high - low) / 8
    middle = mesh[:, :2].mean(axis=0)
    return bool((middle > low - room).all() and (middle < high + room).all())
