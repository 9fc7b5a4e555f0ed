"""Small models with fresh weights, none of them zero, and made-up people."""

import torch

from reenactor.engine.runtimes.fast import examples
from reenactor.models import METHODS
from reenactor.models.hybrid import HybridConfig
from reenactor.models.marionette import MarioNETteConfig
from reenactor.models.oneshot import OneShotConfig

SMALL = {
    "hybrid": HybridConfig(resolution=64, base_width=16),
    "marionette": MarioNETteConfig(
        resolution=64, base_width=8, max_width=16, levels=2, wide=False, blender_blocks=2, flow_scale=0.1
    ),
    "marionette-mesh": MarioNETteConfig(
        resolution=64, base_width=8, max_width=16, levels=2, wide=False, blender_blocks=2, mesh_prior=True
    ),
    "oneshot": OneShotConfig(resolution=64, base_width=8, max_width=16, fusion_width=4, spade_from=4),
}


def fresh(kind, config):
    """What would be zero before training is not: it would hide all that leads there."""
    torch.manual_seed(0)
    model = kind(config).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def small(name):
    return fresh(METHODS[name.partition("-")[0]].model, SMALL[name])


def people(model, *counts):
    """One frame of each of some people with so many photos."""
    return [one for seed, photos in enumerate(counts) for one in examples(model, photos=photos, seed=seed)]
