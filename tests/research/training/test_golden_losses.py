"""Two hundred steps on the prepared data pack give the losses that were stored."""

import json
from pathlib import Path

import pytest

from reenactor.research.data.packing import Plan
from reenactor.research.data.prepare import prepare
from reenactor.research.recipes import recipe
from reenactor.research.training import changed
from reenactor.research.training.log import read_log
from reenactor.research.training.loop import train
from reenactor.research.training.machines import make_fabric

DATA = Path(__file__).parents[3] / "shared" / "data"
GOLDEN = Path(__file__).with_name("golden_losses.json")
"""Means over 50 steps. To store new ones, delete it and run the test."""


OLDER = [
    "objective.model.mesh_prior=false",
    'objective.vgg19={"kind": "random-vgg", "width": 0.25}',
    "objective.gan=1",
    "objective.feature_matching=10",
    "data.targets=1",
    "data.opening=0",
    "data.turning=0",
    "data.augment.mirror=0",
    'optimizers={"generator_lr": 4e-4, "discriminator_lr": 2e-4}',
    "ema_halflife_ksamples=10",
]
"""The recipe as it was then: all losses of the paper, and its alignment."""


@pytest.fixture(scope="module")
def whole_pack(tmp_path_factory):
    if not (DATA / "manifest.csv").exists():
        pytest.skip("the data pack is not here")
    out = tmp_path_factory.mktemp("whole") / "pack"
    prepare(Plan(source=DATA, out=out, dataset="manifest", workers=2))
    return out


@pytest.mark.slow
def test_losses_are_those_stored(whole_pack, tmp_path):
    short = ["steps=200", "batch_size=4", "precision=fp32", "log_every=50", "sample_every=200", "workers=1"]
    short += OLDER
    config = changed(recipe("marionette-lite"), short)
    train(config, whole_pack, tmp_path, make_fabric(accelerator="cpu", devices=1))
    found = [
        {name: value for name, value in line.items() if "/" in name and "score" not in name}
        for line in read_log(tmp_path)
        if "generator/loss" in line
    ]
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
        pytest.fail(f"stored the losses in {GOLDEN}; run it again to compare")
    for stored, line in zip(json.loads(GOLDEN.read_text()), found, strict=True):
        for name, value in stored.items():
            assert line[name] == pytest.approx(value, rel=0.02, abs=0.002), name
