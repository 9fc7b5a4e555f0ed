"""ArcFace (Deng et al. 2019), paper B's judge of identity, as far as a user has a network of it as an ONNX file.

Published weights are for research only, so none ships or is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from reenactor.core import Landmarks, ReenactError
from reenactor.core.files import check_readable, sha256
from reenactor.core.system import need
from reenactor.face.geometry import fit_similarity

CHIP_PX = 112
ALIGNED_POINTS_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""(5, 2) where InsightFace puts the eyes (image left first), the tip of the nose and the corners of the mouth."""
SAME_PERSON_COSINE = 0.28
"""From this cosine on two photos show one person: InsightFace's demonstration of w600k_r50
(`web-demos/src_recognition/main.py`). Other networks may need another."""
_WITHIN = 8
"""Nodes at the beginning of a graph among which InsightFace looks for the scaling of pixels."""


@dataclass(frozen=True)
class ArcFaceFile:
    """A verified ONNX file.

    Args:
        path: the file.
        digest: its SHA-256.
        size: numbers in an embedding.
        scales: whether the graph itself brings pixels from [0, 255] to [-1, 1], as files converted from MXNet do.
    """

    path: Path
    digest: str
    size: int
    scales: bool

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"ArcFace {self.path.stem} {self.digest[:12]} (one person from cosine {SAME_PERSON_COSINE:g})"


def read_arcface(path: str | os.PathLike[str]) -> ArcFaceFile:
    """Verify that a file is a network for aligned faces of 112 x 112 pixels, and run it once.

    Raises:
        ReenactError: the file is missing, is no ONNX file, keeps weights elsewhere (its digest would not know them), or
            has other inputs or outputs; one sentence.
    """
    path = Path(path)
    check_readable(path, "the ONNX file of an ArcFace network")
    need("onnx", "export", "judging by ArcFace")
    need("onnxruntime", "fast", "judging by ArcFace")
    import onnx
    from onnx.external_data_helper import uses_external_data

    use = "use one whose input is (1 or any, 3, 112, 112) and whose output is (1 or any, size of the embedding)"
    try:
        graph = onnx.load(path, load_external_data=False).graph
        if any(map(uses_external_data, graph.initializer)):
            raise ReenactError(f"{path} keeps its weights in another file; save it again as one file")
        session = _session(path)
        shapes = [one.shape for one in session.get_inputs()]
        if not (len(shapes) == 1 and _fits(shapes[0])):
            raise ReenactError(f"{path} is no ArcFace network: its inputs have the shapes {shapes}; {use}")
        found = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, CHIP_PX, CHIP_PX), np.float32)})
    except ReenactError:
        raise
    except Exception as error:  # protobuf's and ONNX Runtime's errors have no base class of their own
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ReenactError(f"{path} cannot be run as an ONNX file ({reason[0]}); {use}") from error
    shapes = [tuple(one.shape) for one in found]
    if not (len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][0] == 1 and shapes[0][1] > 1):
        raise ReenactError(f"{path} is no ArcFace network: its outputs have the shapes {shapes}; {use}")
    first = {node.op_type for node in graph.node[:_WITHIN]}
    return ArcFaceFile(path, sha256(path), shapes[0][1], "Sub" in first and bool({"Mul", "Div"} & first))


def arcface_chip(image: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks) -> UInt8[np.ndarray, "112 112 3"]:
    """Cut out and align a face by five points as InsightFace's `norm_crop` does; an eye is the mean of its six points.

    Args:
        image: (H, W, 3) RGB.
        landmarks: of one face, in its pixels.

    Returns:
        (112, 112, 3) RGB; black beyond the picture.
    """
    points = landmarks.ibug68[:, :2]
    five = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])
    fit = fit_similarity(five, ALIGNED_POINTS_PX)
    matrix = np.column_stack([fit.scale * fit.R, fit.t])
    return np.asarray(cv2.warpAffine(np.ascontiguousarray(image), matrix, (CHIP_PX, CHIP_PX)), dtype=np.uint8)


class ArcFaceEmbedder:
    """Embeds faces by a user's network, one at a time, on the CPU: no number depends on the batch or on a GPU.

    Args:
        file: what `read_arcface` verified.
    """

    def __init__(self, file: ArcFaceFile) -> None:
        self._file = file
        self._session = _session(file.path)
        self._input = self._session.get_inputs()[0].name

    def embed_batch(
        self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], landmarks: Sequence[Landmarks]
    ) -> Float32[np.ndarray, "n d"]:
        """Embeddings (N, D) of unit length of one face in each of N pictures."""
        found = [self._embed(arcface_chip(*pair)) for pair in zip(images, landmarks, strict=True)]
        return np.array(found, np.float32).reshape(-1, self._file.size)

    def _embed(self, chip: UInt8[np.ndarray, "112 112 3"]) -> Float[np.ndarray, " d"]:
        pixels = chip.transpose(2, 0, 1)[None].astype(np.float32)
        values = pixels if self._file.scales else pixels / np.float32(127.5) - 1
        embedding = self._session.run(None, {self._input: values})[0][0].astype(np.float64)
        return embedding / np.linalg.norm(embedding)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _fits(shape: Sequence[int | str | None]) -> bool:
    expected = (1, 3, CHIP_PX, CHIP_PX)
    return len(shape) == 4 and all(not isinstance(a, int) or a == b for a, b in zip(shape, expected, strict=True))
