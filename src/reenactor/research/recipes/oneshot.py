"""One-shot Face Reenactment (paper A): its networks, the rows of its Tables 1 to 3, each at "paper" and "lite" size.

The paper's runs, in this order; VGG16 is downloaded, the verification network is trained here:

    reenactor train verification --data celeba/ --out runs/verification
    reenactor train oneshot --data celeba-hq/ --out runs/oneshot
    reenactor train oneshot-fusion --data celeba-hq/ --out runs/oneshot-fusion
    reenactor train oneshot-3-shot --data celeba/ --out runs/someone --set data.people='["someone"]'

None of them needs clips; where the pack has some, `verification` and `oneshot-fusion` use them, too. `oneshot-vgg19`
stands for `oneshot` with another perceptual loss.

In all of them faces are aligned to the mean shape, which makes them 1.3 to 1.8 times as large as in a pack's crops:
prepare with `--size 448` for 256 pixels, so that nothing is enlarged.

Each reads what the one before it wrote into `runs/`; for another folder, change `objective.verification.folder`,
`objective.decoder` or `objective.init` with `--set`. The lite runs need nothing but a pack: a random VGG replaces
VGG16, and identities are not compared. Nothing of the paper's size was trained here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from reenactor.core import Alignment
from reenactor.models.oneshot import (
    FusionObjectiveConfig,
    OneShotConfig,
    OneShotObjectiveConfig,
    ShapeEncoderConfig,
    ShapeEncoderObjectiveConfig,
    VerificationConfig,
    VerificationObjectiveConfig,
)
from reenactor.nn.losses import PIX2PIXHD_LAYERS, VGG16_IMAGENET, VGG19_IMAGENET, RandomVgg, TrainedFeatures
from reenactor.research.data.pairs import PairAugmentation, PairKind
from reenactor.research.training import FrameData, Optimizers, PairData, RunConfig, updated

Size = Literal["paper", "lite"]
_BASE: dict[Size, str] = {"paper": "oneshot", "lite": "oneshot-lite"}
_RUNS = Path("runs")


def decoder(name: str, size: Size, *, concatenate: bool = True, reconstruction: float = 25) -> RunConfig:
    """One-shot without FusionNet: Table 1, "Ours w/o Fusion"; Table 2 varies the two settings.

        reenactor train oneshot-lite --data pack --out runs/oneshot-lite

    "paper": 256 px, 173 M parameters, contour pairs of single photos. "lite": 128 px, 5.4 M parameters, clips too. The
    weights that ship were trained with changed settings (docs/experiments.md) for 2.4 hours of a core: 22.2 dB inside
    the face.

    Args:
        name: the recipe's.
        size: which of the two.
        concatenate: give D the parsing map beside the code; False is the row "No concat".
        reconstruction: lambda, the weight of the reconstruction loss.
    """
    if size == "paper":
        return RunConfig(
            recipe=name,
            objective=OneShotObjectiveConfig(
                model=OneShotConfig.paper(concatenate=concatenate, fusion="none"),
                reconstruction=reconstruction,
                features=VGG16_IMAGENET,
                verification=TrainedFeatures(folder=_RUNS / "verification" / "model"),
            ),
            data=PairData(size=256, alignment=Alignment.MEAN_SHAPE, targets=1, mix={PairKind.CONTOUR: 1.0}),
            optimizers=Optimizers(generator_lr=1e-4, discriminator_lr=5e-5),
            steps=200_000,
            precision="bf16",
            channels_last=True,
            workers=8,
            save_every=2000,
            sample_every=2000,
            epoch_steps=2000,
        )
    return RunConfig(
        recipe=name,
        objective=OneShotObjectiveConfig(
            model=OneShotConfig.lite(concatenate=concatenate, fusion="none"),
            reconstruction=reconstruction,
            features=RandomVgg(width=0.25),
            layer_weights="mean",
            identity=0,
        ),
        data=PairData(
            size=128,
            alignment=Alignment.MEAN_SHAPE,
            targets=1,
            mix={PairKind.CONTOUR: 0.4, PairKind.WARP_BACK: 0.3, PairKind.CLIP: 0.3},
        ),
        optimizers=Optimizers(generator_lr=2e-4, discriminator_lr=1e-4),
        steps=50_000,
    )


def as_cited(name: str) -> RunConfig:
    """`oneshot` with the perceptual loss of the work that the paper cites for it (pix2pixHD), not of its authors' code.

    reenactor train oneshot-vgg19 --data celeba-hq/ --out runs/oneshot-vgg19
    """
    changes = {"objective.features": VGG19_IMAGENET, "objective.layer_weights": PIX2PIXHD_LAYERS}
    return updated(decoder(name, "paper"), changes)


def fusion(name: str, size: Size) -> RunConfig:
    """FusionNet (Table 1, "Ours") for the decoder in `runs/`.

        reenactor train oneshot-lite-fusion --data pack --out runs/oneshot-lite-fusion

    A pack of photos alone serves, one a person: each is warped to another pose and expression, and from there back. Of
    a pack with clips, seven pairs of ten are two frames of one. The lite size takes 24 minutes of a core: 0.2 dB above
    the better of its two inputs.
    """
    lite = size == "lite"
    return RunConfig(
        recipe=name,
        objective=FusionObjectiveConfig(decoder=_RUNS / _BASE[size] / "model"),
        data=PairData(
            size=128 if lite else 256,
            alignment=Alignment.MEAN_SHAPE,
            targets=1,
            mix={PairKind.CLIP: 0.7, PairKind.WARP_BACK: 0.3},
            turning=0.7,
            augment=PairAugmentation(mirror=0.5),
        ),
        optimizers=Optimizers(generator_lr=2e-3, betas=(0.9, 0.999), final_factor=0.1),
        steps=2_000 if lite else 20_000,
        ema_halflife_ksamples=2,
        workers=2 if lite else 8,
    )


def few_shot(name: str, size: Size, *, shots: int) -> RunConfig:
    """Table 3: fine-tune the model of `fusion` on a few photos of one person, at half the learning rates.

    reenactor train oneshot-lite-3-shot --data pack --out runs/someone --set data.people='["someone"]'
    """
    run = decoder(name, size)
    return updated(
        run,
        {
            "objective.model": OneShotConfig.paper() if size == "paper" else OneShotConfig.lite(),
            "objective.init": _RUNS / f"{_BASE[size]}-fusion" / "model",
            "data.mix": {PairKind.CONTOUR: 0.5, PairKind.WARP_BACK: 0.5},
            "data.photos": shots,
            "optimizers.generator_lr": run.optimizers.generator_lr / 2,
            "optimizers.discriminator_lr": run.optimizers.discriminator_lr / 2,
            "optimizers.warmup_steps": 50,
            "steps": 200 * shots,
            "ema_halflife_ksamples": 0.2,
            "sample_every": 200,
            "save_every": 200,
        },
    )


def shape_encoder(name: str, size: Size) -> RunConfig:
    """Shape encoder E: from pixels to boundaries and points, supervised by the pack's landmarks.

        reenactor train shape-encoder-lite --data pack --out runs/shape

    The lite size (128 px, 0.6 M parameters) ships after 4,400 steps, 72 minutes of a core: 2.7 % of the eye distance on
    clips of other people.
    """
    model = ShapeEncoderConfig(resolution=256, width=32) if size == "paper" else ShapeEncoderConfig()
    # What ships is exported for upright crops.
    alignment = Alignment.MEAN_SHAPE if size == "paper" else Alignment.BOX
    return _frames(name, size, ShapeEncoderObjectiveConfig(model=model), alignment)


def verification(name: str, size: Size) -> RunConfig:
    """Verification network of the identity loss; 2.8 M parameters from 128 px at the lite size.

    reenactor train verification --data celeba/ --out runs/verification
    """
    model = VerificationConfig(width=64, embedding=256) if size == "paper" else VerificationConfig()
    return _frames(name, size, VerificationObjectiveConfig(model=model), Alignment.MEAN_SHAPE)


def _frames(
    name: str,
    size: Size,
    objective: ShapeEncoderObjectiveConfig | VerificationObjectiveConfig,
    alignment: Alignment,
) -> RunConfig:
    return RunConfig(
        recipe=name,
        objective=objective,
        data=FrameData(size=256 if size == "paper" else 128, alignment=alignment, photo_share=0.5),
        optimizers=Optimizers(generator_lr=1e-3, betas=(0.9, 0.999), warmup_steps=200, final_factor=0.01),
        steps=200_000 if size == "paper" else 30_000,
        batch_size=32,
        sample_every=1000,
        save_every=1000,
    )


def _rows(size: Size) -> dict[str, tuple[str, partial[RunConfig]]]:
    base = _BASE[size]
    about = "256 px, 173 M parameters" if size == "paper" else "small enough for a CPU: 128 px, 5.4 M parameters"
    rows = {base: (f'Table 1, "Ours w/o Fusion"; {about}', partial(decoder, size=size))}
    rows[f"{base}-no-concat"] = ('Table 2, "No concat"', partial(decoder, size=size, concatenate=False))
    for weight in (3, 10, 50):
        rows[f"{base}-lambda-{weight}"] = (
            f"Table 2, lambda = {weight} (25 in the others)",
            partial(decoder, size=size, reconstruction=weight),
        )
    rows[f"{base}-fusion"] = (f'Table 1, "Ours": FusionNet for the model in runs/{base}', partial(fusion, size=size))
    for shots in (1, 3, 5):
        rows[f"{base}-{shots}-shot"] = (
            f"Table 3: fine-tuned on {shots} photo{'s' * (shots > 1)} of a person, from runs/{base}-fusion",
            partial(few_shot, size=size, shots=shots),
        )
    return rows


ROWS = {
    **_rows("paper"),
    "oneshot-vgg19": ("The same with weighted VGG19, as the paper's citation suggests", as_cited),
    **_rows("lite"),
    "shape-encoder": ("Shape encoder E at 256 px", partial(shape_encoder, size="paper")),
    "shape-encoder-lite": ("Shape encoder E at 128 px, 0.6 M parameters", partial(shape_encoder, size="lite")),
    "verification": ("Verification network of the identity loss, 256 px", partial(verification, size="paper")),
    "verification-lite": ("The same at 128 px, 2.8 M parameters", partial(verification, size="lite")),
}
