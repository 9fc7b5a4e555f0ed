"""One-shot Face Reenactment and its ablations (paper A, Tables 1 to 3): at the paper's size, and small ("lite").

The paper's runs, in this order; VGG16 is downloaded, the verification network is trained here:

    reenactor train verification --data celeba/ --out runs/verification
    reenactor train oneshot --data celeba-hq/ --out runs/oneshot
    reenactor train oneshot-fusion --data voxceleb1/ --out runs/oneshot-fusion
    reenactor train oneshot-3-shot --data celeba/ --out runs/someone --set data.people='["someone"]'

Each reads what the one before it wrote into `runs/`; other places are named with `--set objective.verification.folder`,
`objective.decoder` and `objective.init`. The lite runs need nothing but a pack: a random VGG stands in for VGG16, and
nothing compares identities. `shape-encoder` is on its own.
"""

from __future__ import annotations

from pathlib import Path

from reenactor.models.oneshot import (
    FusionObjectiveConfig,
    OneShotConfig,
    OneShotObjectiveConfig,
    ShapeEncoderConfig,
    ShapeEncoderObjectiveConfig,
    VerificationConfig,
    VerificationObjectiveConfig,
)
from reenactor.nn.losses import VGG16_IMAGENET, RandomVgg, TrainedFeatures
from reenactor.research.data.augment import PairAugmentation
from reenactor.research.data.pairs import PairKind
from reenactor.research.training import FrameData, Optimizers, PairData, RunConfig

_RUNS = Path("runs")
_LITE_VGG = RandomVgg(width=0.25)
_VERIFICATION = TrainedFeatures(folder=_RUNS / "verification" / "model")
_PAPER_ADAM = Optimizers(generator_lr=1e-4, discriminator_lr=5e-5, betas=(0.0, 0.999))
_CLASSIFIER_ADAM = Optimizers(generator_lr=1e-3, betas=(0.9, 0.999), warmup_steps=200, final_factor=0.01)


def paper() -> RunConfig:
    """One-shot, Table 1, "Ours w/o Fusion": contour pairs of single photos, 256 px, lambda 25; 173 M parameters."""
    return _paper("oneshot")


def paper_no_concat() -> RunConfig:
    """Table 2, "No concat": D sees the code alone."""
    return _paper("oneshot-no-concat", concatenate=False)


def paper_lambda_3() -> RunConfig:
    """Table 2, lambda = 3."""
    return _paper("oneshot-lambda-3", reconstruction=3)


def paper_lambda_10() -> RunConfig:
    """Table 2, lambda = 10."""
    return _paper("oneshot-lambda-10", reconstruction=10)


def paper_lambda_50() -> RunConfig:
    """Table 2, lambda = 50."""
    return _paper("oneshot-lambda-50", reconstruction=50)


def paper_fusion() -> RunConfig:
    """Table 1, "Ours": FusionNet for the model in `runs/oneshot`; wants a pack with clips."""
    return _fusion("oneshot-fusion", size=256)


def paper_1_shot() -> RunConfig:
    """Table 3: the model in `runs/oneshot-fusion` goes on with one photo of a person."""
    return _paper_shot(1)


def paper_3_shot() -> RunConfig:
    """Table 3: it goes on with three photos of a person."""
    return _paper_shot(3)


def paper_5_shot() -> RunConfig:
    """Table 3: it goes on with five photos of a person."""
    return _paper_shot(5)


def lite() -> RunConfig:
    """Table 1, "Ours w/o Fusion", small enough to train on a CPU: 128 px, 5.4 M parameters, also on clips."""
    return _lite("oneshot-lite")


def lite_no_concat() -> RunConfig:
    """Table 2, "No concat", small."""
    return _lite("oneshot-lite-no-concat", concatenate=False)


def lite_lambda_3() -> RunConfig:
    """Table 2, lambda = 3, small."""
    return _lite("oneshot-lite-lambda-3", reconstruction=3)


def lite_lambda_10() -> RunConfig:
    """Table 2, lambda = 10, small."""
    return _lite("oneshot-lite-lambda-10", reconstruction=10)


def lite_lambda_50() -> RunConfig:
    """Table 2, lambda = 50, small."""
    return _lite("oneshot-lite-lambda-50", reconstruction=50)


def lite_fusion() -> RunConfig:
    """FusionNet for the model in `runs/oneshot-lite`."""
    return _fusion("oneshot-lite-fusion", size=128)


def lite_1_shot() -> RunConfig:
    """The model in `runs/oneshot-lite-fusion` goes on with one photo of a person."""
    return _lite_shot(1)


def lite_3_shot() -> RunConfig:
    """It goes on with three photos of a person."""
    return _lite_shot(3)


def lite_5_shot() -> RunConfig:
    """It goes on with five photos of a person."""
    return _lite_shot(5)


def shape_encoder() -> RunConfig:
    """Shape encoder E at 256 px: from pixels to boundaries and points, taught by the pack's landmarks."""
    config = ShapeEncoderConfig(resolution=256, width=32)
    return _frames("shape-encoder", ShapeEncoderObjectiveConfig(model=config), size=256, steps=200_000)


def shape_encoder_lite() -> RunConfig:
    """E at 128 px, 0.6 M parameters."""
    return _frames("shape-encoder-lite", ShapeEncoderObjectiveConfig(), size=128, steps=30_000)


def verification() -> RunConfig:
    """The verification network of the identity loss, twice as wide as the small one."""
    config = VerificationConfig(width=64, embedding=256)
    return _frames("verification", VerificationObjectiveConfig(model=config), size=256, steps=200_000)


def verification_lite() -> RunConfig:
    """The verification network with 2.8 M parameters, from pictures of 128 px."""
    return _frames("verification-lite", VerificationObjectiveConfig(), size=128, steps=30_000)


def _paper(name: str, *, concatenate: bool = True, reconstruction: float = 25) -> RunConfig:
    return RunConfig(
        recipe=name,
        objective=OneShotObjectiveConfig(
            model=OneShotConfig.paper(concatenate=concatenate, fusion="none"),
            reconstruction=reconstruction,
            features=VGG16_IMAGENET,
            verification=_VERIFICATION,
        ),
        data=PairData(size=256, targets=1, mix={PairKind.CONTOUR: 1.0}),
        optimizers=_PAPER_ADAM,
        steps=200_000,
        batch_size=8,
        precision="bf16",
        channels_last=True,
        workers=8,
        save_every=2000,
        sample_every=2000,
        epoch_steps=2000,
    )


def _lite(name: str, *, concatenate: bool = True, reconstruction: float = 25) -> RunConfig:
    return RunConfig(
        recipe=name,
        objective=OneShotObjectiveConfig(
            model=OneShotConfig.lite(concatenate=concatenate, fusion="none"),
            reconstruction=reconstruction,
            features=_LITE_VGG,
            identity=0,
        ),
        data=PairData(size=128, targets=1, mix={PairKind.CONTOUR: 0.4, PairKind.WARP_BACK: 0.3, PairKind.CLIP: 0.3}),
        optimizers=Optimizers(generator_lr=2e-4, discriminator_lr=1e-4, betas=(0.0, 0.999)),
        steps=50_000,
        batch_size=8,
    )


def _fusion(name: str, *, size: int) -> RunConfig:
    small = size == 128
    return RunConfig(
        recipe=name,
        objective=FusionObjectiveConfig(decoder=_RUNS / name.removesuffix("-fusion") / "model"),
        data=PairData(
            size=size,
            targets=1,
            mix={PairKind.CLIP: 0.7, PairKind.WARP_BACK: 0.3},
            turning=0.7,
            augment=PairAugmentation(mirror=0.5),
        ),
        optimizers=Optimizers(generator_lr=2e-3, betas=(0.9, 0.999), final_factor=0.1),
        steps=2_000 if small else 20_000,
        batch_size=8,
        ema_halflife_ksamples=2,
        workers=2 if small else 8,
    )


def _paper_shot(shots: int) -> RunConfig:
    run = _paper(f"oneshot-{shots}-shot")
    return _fine_tuned(run, _RUNS / "oneshot-fusion" / "model", OneShotConfig.paper(), shots)


def _lite_shot(shots: int) -> RunConfig:
    run = _lite(f"oneshot-lite-{shots}-shot")
    return _fine_tuned(run, _RUNS / "oneshot-lite-fusion" / "model", OneShotConfig.lite(), shots)


def _fine_tuned(run: RunConfig, trained: Path, model: OneShotConfig, shots: int) -> RunConfig:
    """The run's losses on photos alone, from trained weights, at half the learning rates."""
    adam = run.optimizers
    rates = {"generator_lr": adam.generator_lr / 2, "discriminator_lr": adam.discriminator_lr / 2, "warmup_steps": 50}
    mix = {PairKind.CONTOUR: 0.5, PairKind.WARP_BACK: 0.5}
    return run.model_copy(
        update={
            "objective": run.objective.model_copy(update={"model": model, "init": trained}),
            "data": run.data.model_copy(update={"mix": mix, "photos": shots}),
            "optimizers": adam.model_copy(update=rates),
            "steps": 200 * shots,
            "ema_halflife_ksamples": 0.2,
            "sample_every": 200,
            "save_every": 200,
        }
    )


def _frames(
    name: str, objective: ShapeEncoderObjectiveConfig | VerificationObjectiveConfig, *, size: int, steps: int
) -> RunConfig:
    return RunConfig(
        recipe=name,
        objective=objective,
        data=FrameData(size=size, photo_share=0.5),
        optimizers=_CLASSIFIER_ADAM,
        steps=steps,
        batch_size=32,
        sample_every=1000,
        save_every=1000,
    )
