"""The project's own model: a mesh flow where geometry knows, a network where it does not; and its ablations.

    reenactor train hybrid --data pack --out runs/hybrid
    reenactor train hybrid-mouth --data pack --out runs/hybrid-mouth

The mouth refiner starts from what the first run wrote into `runs/`; `--set objective.hybrid=DIR` names another folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reenactor.models.hybrid import HybridConfig, HybridObjectiveConfig, MouthObjectiveConfig
from reenactor.nn.losses import RandomVgg
from reenactor.research.data.augment import PairAugmentation
from reenactor.research.data.pairs import PairKind
from reenactor.research.training import Optimizers, PairData, RunConfig

_VGG = RandomVgg(width=0.125)


def full() -> RunConfig:
    """The hybrid: mesh flow, learned flow, and a mask that keeps what the warp has right."""
    return _hybrid("hybrid")


def mouth() -> RunConfig:
    """A mouth refiner for the trained hybrid: teeth need more pixels than a face of 128 has for them."""
    run = _hybrid("hybrid-mouth")
    data: dict[str, Any] = {
        "size": 256,
        "targets": 2,
        "mix": {PairKind.CLIP: 0.8, PairKind.WARP_BACK: 0.2},
        "opening": 0.8,
        "follow": 0.0,
    }
    return run.model_copy(
        update={
            "objective": MouthObjectiveConfig(hybrid=Path("runs") / "hybrid" / "model", features=_VGG),
            "data": run.data.model_copy(update=data),
            "optimizers": run.optimizers.model_copy(update={"generator_lr": 1e-3}),
            "steps": 6_000,
            "batch_size": 8,
        }
    )


def no_mesh() -> RunConfig:
    """Ablation: all movement is learned."""
    return _hybrid("hybrid-no-mesh", mesh_prior=False)


def no_fusion() -> RunConfig:
    """Ablation: every pixel is painted."""
    return _hybrid("hybrid-no-fusion", fusion=False, soft_paint=False)


def no_warp_back() -> RunConfig:
    """Ablation: pairs of real frames only."""
    run = _hybrid("hybrid-no-warp-back")
    return run.model_copy(update={"data": run.data.model_copy(update={"mix": {PairKind.CLIP: 1.0}})})


def _hybrid(name: str, *, soft_paint: bool = True, **model: Any) -> RunConfig:
    mix = {PairKind.CLIP: 0.6, PairKind.WARP_BACK: 0.35, PairKind.CONTOUR: 0.05}
    return RunConfig(
        recipe=name,
        objective=HybridObjectiveConfig(model=HybridConfig(soft_paint=soft_paint, **model), features=_VGG),
        data=PairData(
            size=128,
            targets=4,
            mix=mix,
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
