"""The hybrid, this project's own model, and its ablations: a mesh flow where geometry knows, else a network.

reenactor train hybrid --data pack --out runs/hybrid
reenactor train hybrid-mouth --data pack --out runs/hybrid-mouth
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from reenactor.models.hybrid import HybridConfig, HybridObjectiveConfig, MouthObjectiveConfig
from reenactor.nn.losses import RandomVgg
from reenactor.research.data.pairs import PairAugmentation, PairKind
from reenactor.research.training import Optimizers, PairData, RunConfig, updated

_VGG = RandomVgg(width=0.125)


def full(name: str, *, soft_paint: bool = True, **model: Any) -> RunConfig:
    """The hybrid: mesh flow, learned flow, and a mask that keeps what the warp has right; 128 px.

    docs/experiments.md has its scores and what each part contributes.

    Args:
        name: the recipe's.
        soft_paint: see `HybridConfig`.
        **model: other settings of `HybridConfig`, for ablations.
    """
    return RunConfig(
        recipe=name,
        objective=HybridObjectiveConfig(model=HybridConfig(soft_paint=soft_paint, **model), features=_VGG),
        data=PairData(
            size=128,
            targets=4,
            mix={PairKind.CLIP: 0.6, PairKind.WARP_BACK: 0.35, PairKind.CONTOUR: 0.05},
            opening=0.5,
            follow=0.25,
            warp_back_face_only=True,
            augment=PairAugmentation.photos(),
        ),
        optimizers=Optimizers(
            generator_lr=1.5e-3, discriminator_lr=1e-3, betas=(0.5, 0.99), clip_norm=5, final_factor=0.1
        ),
        steps=50_000,
        batch_size=4,
        precision="bf16",
        ema_halflife_ksamples=2,
    )


def mouth(name: str) -> RunConfig:
    """A mouth refiner for the hybrid in `runs/hybrid`, in a crop with more pixels; an hour of 1.5 cores.

    For a hybrid in another folder: `--set objective.hybrid=FOLDER`.
    """
    return updated(
        full(name),
        {
            "objective": MouthObjectiveConfig(hybrid=Path("runs") / "hybrid" / "model", features=_VGG),
            "data.size": 256,
            "data.targets": 2,
            "data.mix": {PairKind.CLIP: 0.8, PairKind.WARP_BACK: 0.2},
            "data.opening": 0.8,
            "data.follow": 0.0,
            "optimizers.generator_lr": 1e-3,
            "steps": 6_000,
            "batch_size": 8,
        },
    )


def no_warp_back(name: str) -> RunConfig:
    """Ablation: pairs of real frames only."""
    return updated(full(name), {"data.mix": {PairKind.CLIP: 1.0}})


ROWS = {
    "hybrid": ("The hybrid: mesh flow, learned flow, and a mask that keeps what the warp has right", full),
    "hybrid-mouth": ("A mouth refiner for the trained hybrid: teeth need more pixels than a face of 128 px has", mouth),
    "hybrid-no-mesh": ("Ablation: all movement is learned", partial(full, mesh_prior=False)),
    "hybrid-no-fusion": ("Ablation: every pixel is painted", partial(full, fusion=False, soft_paint=False)),
    "hybrid-no-warp-back": ("Ablation: pairs of real frames only", no_warp_back),
}
