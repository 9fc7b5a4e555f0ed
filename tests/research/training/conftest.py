"""A run that takes a second or two: tiny networks on the small pack."""

import pytest

from reenactor.models.marionette import MarioNETteConfig, MarioNETteObjectiveConfig
from reenactor.nn.losses import RandomVgg
from reenactor.research.training import Optimizers, PairData, RunConfig
from reenactor.research.training.loop import train
from reenactor.research.training.machines import make_fabric

TINY = MarioNETteConfig(
    resolution=32, base_width=4, max_width=8, levels=2, wide=False, blender_blocks=1, discriminator_blocks=2
)


@pytest.fixture
def config():
    """The tiny run: both players, a perceptual loss, two epochs.

    Divided by pixels, the hull's loss lets rounding grow past 0.5 % within five steps.
    """
    return RunConfig(
        recipe="tiny",
        objective=MarioNETteObjectiveConfig(
            model=TINY, vgg19=RandomVgg(width=0.0625), perceptual_vgg_face=0, hull_divided_by="weights"
        ),
        data=PairData(size=32, targets=2),
        optimizers=Optimizers(generator_lr=1e-3, discriminator_lr=1e-3),
        steps=6,
        batch_size=4,
        ema_halflife_ksamples=0.01,
        workers=0,
        epoch_steps=4,
        log_every=1,
        sample_every=6,
        save_every=6,
    )


@pytest.fixture
def run(pack, tmp_path):
    """Trains in this process: `run(config, "name", ...)` gives the result."""

    def go(config, name, **options):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        return train(config, pack, out, make_fabric(accelerator="cpu", devices=1), **options)

    return go
