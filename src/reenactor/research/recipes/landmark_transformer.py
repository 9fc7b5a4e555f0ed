"""The landmark transformer (paper B, supplement B), on landmarks alone and as in the paper.

reenactor train landmark-transformer --data pack --out runs/lt
python tools/measure_landmark_transformer.py --data pack --weights runs/lt/model
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from reenactor.face.retarget.neutral_objective import NeutralObjectiveConfig
from reenactor.face.retarget.transformer import LandmarkTransformerConfig, LandmarkTransformerObjectiveConfig
from reenactor.research.training import FrameData, Optimizers, RunConfig


def landmarks_alone(name: str, *, points: Literal["mesh", "ibug68"] = "mesh") -> RunConfig:
    """One linear layer on landmarks alone; a minute of one core. The mesh version ships: identity .50, mouth .97."""
    return RunConfig(
        recipe=name,
        objective=LandmarkTransformerObjectiveConfig(model=LandmarkTransformerConfig(hidden=0, points=points)),
        data=FrameData(pictures=False, photo_share=0.5),
        optimizers=Optimizers(generator_lr=1e-3, betas=(0.9, 0.999), clip_norm=1, final_factor=1e-3),
        steps=1000,
        batch_size=256,
        workers=1,
        epoch_steps=1000,
        sample_every=1000,
        save_every=1000,
    )


def paper(name: str) -> RunConfig:
    """As in the paper: 68 landmarks, ResNet-50, two layers; never trained here.

    Begins only with the weights of ResNet-50: `--set objective.resnet50='{"path": ...}'`.
    """
    return RunConfig(
        recipe=name,
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


def neutral_face(name: str) -> RunConfig:
    """The network that estimates a person's neutral face (`--transfer parts`); minutes of a core."""
    return RunConfig(
        recipe=name,
        objective=NeutralObjectiveConfig(),
        data=FrameData(pictures=False),
        optimizers=Optimizers(generator_lr=1e-3, betas=(0.9, 0.999), warmup_steps=50, final_factor=1e-3),
        steps=3000,
        batch_size=256,
        workers=1,
        epoch_steps=1000,
        sample_every=1000,
        save_every=1000,
    )


ROWS = {
    "landmark-transformer": ("Landmark transformer for the dense mesh, on landmarks alone; a minute", landmarks_alone),
    "landmark-transformer-68": ("The same for the paper's 68 landmarks", partial(landmarks_alone, points="ibug68")),
    "neutral-face": ("The network that estimates neutral faces, for the transfer by parts; minutes", neutral_face),
    "landmark-transformer-paper": ("Landmark transformer as in the paper: 68 landmarks and ResNet-50", paper),
}
