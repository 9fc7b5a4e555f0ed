"""How alike results and truth are in the eyes of a network that this project trained on faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reenactor.models.oneshot import FEATURE_READERS
from reenactor.nn.checkpoint import read_checkpoint
from reenactor.nn.losses import FeatureNetwork, TrainedFeatures, build_features
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.predictions import Predictions, read_prediction
from reenactor.research.evaluation.protocols import Case, CaseList
from reenactor.research.evaluation.store import Store
from reenactor.research.evaluation.workers import WorkerPool
from reenactor.research.metrics import lpips


@dataclass(frozen=True)
class FaceFeatures:
    """Which network looks.

    Args:
        folder: its checkpoint: a shape encoder or a verification network.
        kind: of the checkpoint.
        digest: of the checkpoint.
    """

    folder: Path
    kind: str
    digest: str

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.kind} {self.digest[:12]}"


def face_features(folder: Path) -> FaceFeatures:
    """A checkpoint that gives features.

    Raises:
        ReenactError: missing, damaged, or of another kind.
    """
    build_features(TrainedFeatures(folder=folder), FEATURE_READERS)
    checkpoint = read_checkpoint(folder)
    return FaceFeatures(folder, checkpoint.kind, checkpoint.digest)


def read_distances(
    packs: Packs, sets: CaseList, drawn: Predictions | None, features: FaceFeatures, folder: Path, pool: WorkerPool
) -> Float[np.ndarray, " n"]:
    """Distance (`metrics.lpips`, all layers alike) of each result to the truth; what was measured before is kept.

    Args:
        packs: where the sets' pictures are.
        sets: of one person each.
        drawn: the results; None for the first targets, shown as if they were results.
        features: the network.
        folder: for the store.
        pool: does the work.
    """
    store = Store(folder / f"likeness-{features.digest[:16]}-{sets.digest[:16]}.npz", features.digest)
    paths = {one: None if drawn is None else drawn.path(one) for one in sets.sets}
    digests = {
        one: "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest() for one, path in paths.items()
    }
    new = [(one, paths[one]) for one in sets.sets if store.get(one.id, digests[one]) is None]
    new.sort(key=lambda pair: (pair[0].driver.key, pair[0].driver.number))
    work = _Compare(packs.folders, sets.size, features.folder)
    name = "copies" if drawn is None else drawn.method.name
    try:
        for part, distances in pool.spread(work, new, what=f"compare features of {name}"):
            for (one, _), distance in zip(part, distances, strict=True):
                store.put(one.id, {"distance": np.array(distance, np.float64)}, digests[one])
    finally:
        store.save()
    rows = [store.get(one.id, digests[one]) for one in sets.sets]
    return np.array([np.nan if row is None else row["distance"] for row in rows])


@dataclass(frozen=True)
class _Compare:
    folders: tuple[Path, Path | None]
    size: int
    network: Path

    def __call__(self, items: Sequence[tuple[Case, Path | None]]) -> Float[np.ndarray, " n"]:
        packs, network = _tools(self.folders, self.network)
        truth = packs.driver.pictures((one.driver for one, _ in items), self.size)
        copied = packs.target.pictures((one.targets[0] for one, path in items if path is None), self.size)
        shown = [copied[one.targets[0]] if path is None else read_prediction(path, self.size) for one, path in items]
        with torch.inference_mode():
            return lpips(_tensor(shown), _tensor([truth[one.driver] for one, _ in items]), network).numpy()


@lru_cache(maxsize=1)
def _tools(folders: tuple[Path, Path | None], network: Path) -> tuple[Packs, FeatureNetwork]:
    """A process' own."""
    return Packs(*folders), build_features(TrainedFeatures(folder=network), FEATURE_READERS)


def _tensor(pictures: Sequence[UInt8[np.ndarray, "s s 3"]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
