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
from reenactor.engine.portrait import driver_frame, target_set, usual_size
from reenactor.models import ReenactmentModel
from reenactor.research.data import Split
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind


class PackPair(NamedTuple):
    """A photo, a frame to draw, and what is seen there, in [-1, 1]."""

    targets: TargetSet
    driver: DriverFrame
    truth: Float[Tensor, "1 3 s s"]


def pairs_of_pack(
    model: ReenactmentModel, folder: Path, split: Split, *, mix: Mapping[PairKind, float] | None = None
) -> Iterator[PackPair]:
    """Without end and repeatable, with the model's maps, in crops of `usual_size`.

    Args:
        model: who shall draw them.
        folder: what `reenactor prepare` wrote.
        split: which part of it.
        mix: weights of the kinds of pairs; None for those of `PairData`.
    """
    size = usual_size(model)
    data = PairData(size=size, targets=1) if mix is None else PairData(size=size, targets=1, mix=dict(mix))
    for pair in PairStream(folder, data, split=split, seed=0):
        seen, wanted = (np.asarray(one, np.float32) for one in (pair["target_mesh"], pair["driver_mesh"][None]))
        targets = target_set(model, np.moveaxis(np.asarray(pair["targets"]), 1, -1), seen)
        truth = torch.as_tensor(pair["truth"][None]).float() / 127.5 - 1
        yield PackPair(targets, driver_frame(model, wanted, size), truth)
