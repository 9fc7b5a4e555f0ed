"""What photos and clips share on the way to samples: settings, networks, measurements, metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from reenactor.core import NoFaceError, ReenactError
from reenactor.face.geometry import Crop, head_angles
from reenactor.face.perception import FaceMesher, FaceTracker
from reenactor.face.perception.identity import IdentityEmbedder
from reenactor.research.data.items import Item, PackedSample

MIN_FACE_PX = 32
"""Longer side of the mesh's box in the source; landmarks and pixels of smaller faces are guesswork."""
_SOFTWARE = version("reenactor")
_STATISTICS = {"mean": np.mean, "min": np.min, "max": np.max}


@dataclass(frozen=True)
class Settings:
    """How samples are made: everything that decides their bytes.

    Args:
        size: side of the crops in pixels, a multiple of 32 from 64 to 1024.
        compact: smaller files: fewer frames a second and stronger compression.
        landmarks: folder with another detector's landmarks; see `landmark_files`.

    Raises:
        ReenactError: a size that is not allowed.
    """

    size: int = 256
    compact: bool = False
    landmarks: Path | None = None

    def __post_init__(self) -> None:
        if not 64 <= self.size <= 1024 or self.size % 32:
            raise ReenactError(f"the size of the crops must be a multiple of 32 from 64 to 1024, not {self.size}")

    @property
    def max_fps(self) -> float | None:
        """Largest frame rate of clips; None for any."""
        return 12.5 if self.compact else None

    @property
    def crf(self) -> float:
        """Quality of x264; 18 gives 42 dB and 22 gives 40 dB PSNR on crops of 256 px of the project's data pack."""
        return 22 if self.compact else 18

    @property
    def jpeg_quality(self) -> int:
        """JPEG quality of photos."""
        return 90 if self.compact else 93

    @property
    def steps_per_px(self) -> int:
        """Resolution of landmarks; the largest error is 0.031 px at 16 steps and 0.045 px at 11."""
        return 11 if self.compact else 16

    def facts(self) -> dict[str, Any]:
        """The settings as the manifest records them; packs with different facts are different packs."""
        derived = {name: getattr(self, name) for name in ("max_fps", "crf", "jpeg_quality", "steps_per_px")}
        facts = asdict(self) | derived | {"software": _SOFTWARE}
        del facts["landmarks"]
        # Named by their folder, wherever that lies.
        return facts if self.landmarks is None else facts | {"landmarks": self.landmarks.name}


class Networks:
    """The face networks. They take seconds to load."""

    def __init__(self) -> None:
        self.tracker = FaceTracker()
        self.mesher = FaceMesher()
        self.embedder = IdentityEmbedder()


@cache
def networks() -> Networks:
    """The networks of this process, loaded on the first call."""
    return Networks()


@dataclass(frozen=True)
class Measurements:
    """How good a sample is.

    Args:
        faces: largest number of faces seen in one of the frames looked at.
        score: mean confidence of the detector (photos) or of the mesh network (clips), 0 to 1.
        face_share: share of frames in which the face was found, 0 to 1.
        sharpness: see `reenactor.face.perception.photo_check.sharpness`.
        embedding: identity embedding, mean of the frames looked at.
    """

    faces: int
    score: float
    face_share: float
    sharpness: float
    embedding: Float32[np.ndarray, "128"]


def metadata(
    item: Item,
    source: str,
    crop: Crop,
    picture_px: tuple[int, int],
    mesh_px: Float[np.ndarray, "t 478 3"],
    measured: Measurements,
) -> dict[str, Any]:
    """The content of KEY.json (see docs/data.md) without key and, for clips, times.

    Args:
        item: the clip or photo.
        source: its file, relative to the data set's root.
        crop: the square cut out.
        picture_px: width and height of the source.
        mesh_px: landmarks in pixels of the crop.
        measured: the sample's quality.
    """
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
        "sharpness": round(measured.sharpness, 4),
        "faces": measured.faces,
        "face_share": round(measured.face_share, 4),
        "score": round(measured.score, 4),
        "pose_deg": np.round(poses.astype(np.float64), 1).tolist(),
    }


def packed_sample(key: str, meta: dict[str, Any], members: dict[str, bytes], measured: Measurements) -> PackedSample:
    """A sample with its index row, and with KEY.json added to its members."""
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
    row["embedding"] = [float(x) for x in measured.embedding]
    return PackedSample(row, {**members, "json": json_bytes(meta)})


def json_bytes(meta: dict[str, Any]) -> bytes:
    """KEY.json as bytes."""
    return json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode()


def check_face_size(face_px: float, source: str) -> None:
    """Raise `NoFaceError` if a face is too small to learn from."""
    if face_px < MIN_FACE_PX:
        raise NoFaceError(f"the face in {source} is only {face_px:.0f} pixels large; use one of {MIN_FACE_PX} or more")


def box_corners_px(
    box: Float[np.ndarray, "4"], picture: UInt8[np.ndarray, "h w 3"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Left top and right bottom in pixels of a box given as fractions of the picture."""
    size = np.array([picture.shape[1], picture.shape[0]])
    return box[:2] * size - 0.5, (box[:2] + box[2:]) * size - 0.5


def in_box(mesh: Float[np.ndarray, "478 3"], low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the middle of the face lies in the box enlarged by a quarter: boxes of data sets are rough."""
    margin = (high - low) / 8
    middle = mesh[:, :2].mean(axis=0)
    return bool((middle > low - margin).all() and (middle < high + margin).all())
