"""Parameters and operations of a model, counted on shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch.utils.flop_counter import FlopCounterMode

from reenactor.core import DriverFrame, MapKind, TargetSet
from reenactor.face.geometry import mean_face
from reenactor.models.contract import ReenactmentModel, shapes_only

_CHANNELS = {
    MapKind.LANDMARK_RASTER: 3,
    MapKind.IRIS_RASTER: 3,
    MapKind.BOUNDARIES: 17,
    MapKind.PARSING: 9,
    MapKind.HULL_MASK: 1,
    MapKind.FACE_MASK: 1,
}


@dataclass(frozen=True)
class ModelSize:
    """Counts for one target photo and one driver frame; a multiply-add is two operations.

    Args:
        resolution: pixels a side of the counted pictures.
        parameters: trained weights.
        encode_flop: to encode a photo, once.
        frame_flop: to draw a frame.
    """

    resolution: int
    parameters: int
    encode_flop: int
    frame_flop: int


def count_parameters(kind: type[ReenactmentModel], config: BaseModel) -> int:
    """Trained weights of a model with these settings."""
    return sum(p.numel() for p in shapes_only(kind, config).parameters())


def model_size(kind: type[ReenactmentModel], config: BaseModel) -> ModelSize:
    """Parameters and operations of a trained model with these settings."""
    model = shapes_only(kind, config)
    size = model.resolution or 256
    maps = {name: torch.empty(1, _CHANNELS[name], size, size, device="meta") for name in model.needs.maps}
    mesh = (mean_face().points[None] * (size / 4) + size / 2).astype(np.float32)
    targets = TargetSet(torch.empty(1, 3, size, size, device="meta"), mesh, maps)
    with torch.inference_mode():
        encode_flop, code = _counted(lambda: model.encode_target(targets))
        frame_flop, _ = _counted(lambda: model.synthesize(code, DriverFrame(mesh, maps)))
    return ModelSize(size, sum(p.numel() for p in model.parameters()), encode_flop, frame_flop)


def _counted(work: Any) -> tuple[int, Any]:
    with FlopCounterMode(display=False) as counter:
        result = work()
    return counter.get_total_flops(), result
