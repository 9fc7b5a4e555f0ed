"""The landmark transformer (paper B, supplement B), on landmarks alone and as in the paper.

reenactor train landmark-transformer --data pack --out runs/lt
python tools/measure_landmark_transformer.py --data pack --weights runs/lt/model
"""

from __future__ import annotations

from reenactor.face.retarget.transformer import LandmarkTransformerConfig, LandmarkTransformerObjectiveConfig
from reenactor.research.training import FrameData, Optimizers, RunConfig


def mesh() -> RunConfig:
    """Landmark transformer for the dense mesh, on landmarks alone; linear; a minute on one core."""
    return _landmarks_alone("landmark-transformer", LandmarkTransformerConfig(hidden=0))


def ibug68() -> RunConfig:
    """The same for the paper's 68 landmarks."""
    return _landmarks_alone("landmark-transformer-68", LandmarkTransformerConfig(hidden=0, points="ibug68"))


def paper() -> RunConfig:
    """Landmark transformer as in the paper: 68 landmarks, ResNet-50 (give its weights), two-layer network."""
    return RunConfig(
        recipe="landmark-transformer-paper",
        objective=LandmarkTransformerObjectiveConfig(
            model=LandmarkTransformerConfig(points="ibug68", image="resnet50", image_size=256, dropout=0),
            swap=0,
            mirror=0,
            noise=0,
        ),
        data=FrameData(size=256),
        optimizers=Optimizers(generator_lr=3e-4, betas=(0.9, 0.999), clip_norm=1),
        steps=100_000,
        batch_size=32,
        workers=8,
    )


def _landmarks_alone(name: str, model: LandmarkTransformerConfig) -> RunConfig:
    return RunConfig(
        recipe=name,
        objective=LandmarkTransformerObjectiveConfig(model=model),
        data=FrameData(pictures=False, photo_share=0.5),
        optimizers=Optimizers(generator_lr=1e-3, betas=(0.9, 0.999), clip_norm=1, final_factor=1e-3),
        steps=1000,
        batch_size=256,
        workers=1,
        epoch_steps=1000,
        sample_every=1000,
        save_every=1000,
    )
