"""A run's settings: changed by name, saved, read again; what cannot be is refused with a sentence."""

import pytest

from reenactor.core import ReenactError
from reenactor.research.training import FrameData, changed, updated
from reenactor.research.training.batches import micro_batch_size


def test_settings_change_by_name(config):
    new = changed(config, ["steps=9", "optimizers.betas=[0.5, 0.9]", "precision=bf16", 'data.people=["a"]'])
    assert (new.steps, new.optimizers.betas, new.precision, new.data.people) == (9, (0.5, 0.9), "bf16", ("a",))
    assert changed(new, []) == new
    assert config.steps == 6


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stepz=3", "no such setting"),
        ("data.size.x=3", "no such setting"),
        ("steps", "no such setting"),
        ("steps=many", "steps cannot be"),
        ("steps=0", "steps cannot be"),
        ("data.size=100", "data.*size cannot be"),
        ("precision=fp8", "precision cannot be"),
    ],
)
def test_wrong_settings_are_refused(config, assignment, message):
    with pytest.raises(ReenactError, match=message):
        changed(config, [assignment])


@pytest.mark.parametrize("name", ["stepz", "data.mixx", "objective.vgg19.widht", "data.size.x"])
def test_a_misspelt_setting_of_a_recipe_is_refused(config, name):
    with pytest.raises(ReenactError, match=f"no such setting: {name}"):
        updated(config, {name: 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.mix": {"clipp": 1.0}}, "data.*mix.*cannot be"),
        ({"data": {"kind": "pairs", "sizee": 64}}, "sizee cannot be"),
        ({"optimizers.betas": (0.5,)}, "betas.*cannot be"),
    ],
)
def test_a_wrong_value_of_a_recipe_is_refused(config, changes, message):
    with pytest.raises(ReenactError, match=message):
        updated(config, changes)


def test_parts_of_a_recipe_are_replaced(config):
    new = updated(config, {"data": FrameData(size=64), "steps": 3, "optimizers.generator_lr": 0.5})
    assert (new.data, new.steps, new.optimizers.generator_lr) == (FrameData(size=64), 3, 0.5)
    assert (new.objective, new.optimizers.betas) == (config.objective, config.optimizers.betas)


def test_learning_rate_rises_then_falls(config):
    config = changed(config, ["steps=110", "optimizers.warmup_steps=9", "optimizers.final_factor=0.1"])
    factors = [config.learning_rate_factor(step) for step in range(111)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3], abs=2e-3)
    assert max(factors) == pytest.approx(1.0, abs=1e-3) == factors[9]
    assert factors[9 + 101 // 2] == pytest.approx(0.55, abs=0.02)
    assert factors[110] == pytest.approx(0.1)
    flat = changed(config, ["optimizers.warmup_steps=0", "optimizers.final_factor=1"])
    assert {flat.learning_rate_factor(step) for step in (0, 50, 109)} == {1.0}


def test_batches_must_divide(config):
    assert micro_batch_size(changed(config, ["batch_size=12", "accumulate=3"]), 2) == 2
    with pytest.raises(ReenactError, match="multiple of 8"):
        micro_batch_size(changed(config, ["batch_size=12", "accumulate=4"]), 2)
