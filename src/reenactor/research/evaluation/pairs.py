"""Pairs of a pack as a model takes them: what exports are calibrated with and compared on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.core import DriverFrame, TargetSet
from reenactor.face.maps import draw_maps
from reenactor.models import ReenactmentModel
from reenactor.research.data import Split
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind

_SIZE = 256
"""Of crops for models that take any, pixels."""


class PackPair(NamedTuple):
    """A photo, a frame to draw, and what is seen there, in [-1, 1]."""

    targets: TargetSet
    driver: DriverFrame
    truth: Float[Tensor, "1 3 s s"]


def pairs_of_pack(
    model: ReenactmentModel, folder: Path, split: Split, *, mix: Mapping[PairKind, float] | None = None
) -> Iterator[PackPair]:
    """Without end and repeatable, with the model's maps, in crops of `crop_size`.

    Args:
        model: who shall draw them.
        folder: what `reenactor prepare` wrote.
        split: which part of it.
        mix: weights of the kinds of pairs; None for those of `PairData`.
    """
    size = crop_size(model)
    data = PairData(size=size, targets=1) if mix is None else PairData(size=size, targets=1, mix=dict(mix))
    for pair in PairStream(folder, data, split=split, seed=0):
        images, truth = (torch.as_tensor(one).float() / 127.5 - 1 for one in (pair["targets"], pair["truth"][None]))
        seen, wanted = (np.asarray(one, np.float32) for one in (pair["target_mesh"], pair["driver_mesh"][None]))
        drawn = [draw_maps(model.needs.maps, torch.from_numpy(one), size) for one in (seen, wanted)]
        yield PackPair(TargetSet(images, seen, drawn[0]), DriverFrame(wanted, drawn[1]), truth)


def crop_size(model: ReenactmentModel) -> int:
    """Side of the crops that a model mostly draws, pixels."""
    own = model.resolution or _SIZE
    return max(own, _SIZE) if model.needs.any_resolution else own
