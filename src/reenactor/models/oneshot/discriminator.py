"""The discriminators of paper A: patch discriminators at three sizes of the picture."""

from __future__ import annotations

from reenactor.models.oneshot.config import OneShotConfig
from reenactor.nn import MultiScalePatchGAN

HALVINGS = (3, 2, 2)
"""Halvings of the discriminators at 256, 128 and 64 pixels, as in the authors' code."""


def oneshot_discriminator(config: OneShotConfig) -> MultiScalePatchGAN:
    """Discriminators of the picture alone, at its size, a half and a quarter (least-squares losses: no sigmoid)."""
    return MultiScalePatchGAN(
        3, width=config.discriminator_width, max_width=8 * config.discriminator_width, halvings=HALVINGS
    )
