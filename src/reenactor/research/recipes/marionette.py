"""MarioNETte and its ablations (paper B, Tables 1, 2 and 4), each at "paper" and "lite" size.

The paper's runs need VGG19 (downloaded) and VGG-Face (a file that you have); they were not trained here:

    reenactor train marionette --data voxceleb1/ --out runs/marionette \\
        --set objective.vgg_face.path=vgg_face.pth --set objective.vgg_face.sha256=...

The lite runs need nothing but a pack: a random VGG and the mean absolute error replace both, without a discriminator.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from reenactor.models.marionette import MarioNETteConfig, MarioNETteObjectiveConfig
from reenactor.nn.losses import VGG19_IMAGENET, PretrainedVgg, RandomVgg
from reenactor.research.data.pairs import PairAugmentation, PairKind
from reenactor.research.training import Optimizers, PairData, RunConfig

Blender = Literal["attention", "adain"]


def paper(name: str, *, blender: Blender = "attention", alignment: bool = True) -> RunConfig:
    """MarioNETte as in the paper: K = 4, 256 px, its losses, learning rates and choice of frames; 64 M parameters.

    Betas, batch, steps and moving average are ours: the paper does not give them.
    """
    return RunConfig(
        recipe=name,
        objective=MarioNETteObjectiveConfig(
            model=MarioNETteConfig.paper(blender=blender, alignment=alignment),
            vgg19=VGG19_IMAGENET,
            vgg_face=PretrainedVgg(kind="vgg-face", path=Path("vgg_face.pth")),
        ),
        data=PairData(size=256, targets=4, mix={PairKind.CLIP: 1.0}, choice="uniform", open_clips=32, least_gap_s=0),
        steps=500_000,
        batch_size=16,
        precision="bf16",
        channels_last=True,
        workers=8,
        save_every=2000,
        keep_every=100_000,
        sample_every=2000,
        epoch_steps=2000,
    )


def lite(name: str, *, blender: Blender = "attention", alignment: bool = True) -> RunConfig:
    """MarioNETte for CPUs, live too: 128 px, 1.6 M parameters, irises drawn, alignment by the mesh flow first.

        reenactor train marionette-lite --data pack --out runs/marionette-lite

    What ships took two and a half hours of a busy core: 26.5 dB (`val/psnr`), inside the face 31.1. 100 steps give 17.7
    and 19.7 dB; without the mesh prior (`--set objective.model.mesh_prior=false`) 14.8 and 16.7.
    """
    return RunConfig(
        recipe=name,
        objective=MarioNETteObjectiveConfig(
            model=MarioNETteConfig.lite(blender=blender, alignment=alignment),
            vgg19=RandomVgg(width=0.125),
            perceptual_vgg_face=0,
            hull_divided_by="weights",
            pixel_l1=10,
            gan=0,
            feature_matching=0,
        ),
        data=PairData(size=128, targets=2, opening=0.3, turning=0.4, augment=PairAugmentation(mirror=0.5)),
        optimizers=Optimizers(generator_lr=3e-3, betas=(0.5, 0.99), clip_norm=5, final_factor=0.05),
        steps=7_000,
        batch_size=4,
        precision="bf16",
        ema_halflife_ksamples=2,
        workers=1,
    )


ROWS = {
    "marionette": ("MarioNETte as in the paper: K = 4, 256 px, 64 M parameters", paper),
    "marionette-adain": (
        'Ablation "AdaIN": one style vector, no alignment',
        partial(paper, blender="adain", alignment=False),
    ),
    "marionette-attention": ('Ablation "+Attention": no alignment', partial(paper, alignment=False)),
    "marionette-alignment": ('Ablation "+Alignment": an AdaIN blender', partial(paper, blender="adain")),
    "marionette-lite": ("MarioNETte small enough to train and run live on a CPU: 128 px, 1.6 M parameters", lite),
    "marionette-lite-adain": ('Ablation "AdaIN" of the small one', partial(lite, blender="adain", alignment=False)),
    "marionette-lite-attention": ('Ablation "+Attention" of the small one', partial(lite, alignment=False)),
    "marionette-lite-alignment": ('Ablation "+Alignment" of the small one', partial(lite, blender="adain")),
}
