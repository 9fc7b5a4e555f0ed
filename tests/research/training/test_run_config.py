"""A run's settings: changed by name, saved, read again; what cannot be is refused with a sentence."""

import pytest

from reenactor.core import ReenactError
from reenactor.research.recipes import RECIPES, recipe
from reenactor.research.training import changed, saved_config
from reenactor.research.training.schedule import learning_rate_factor
from reenactor.research.training.sources import micro_batch_size


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_are_complete_and_come_back_from_json(name, tmp_path):
    config = recipe(name)
    assert config.recipe == name
    assert RECIPES[name].__doc__
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    assert saved_config(path) == config


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


def test_unknown_recipe(tmp_path):
    with pytest.raises(ReenactError, match="no recipe 'nothing'"):
        recipe("nothing")
    with pytest.raises(ReenactError, match="cannot read"):
        saved_config(tmp_path / "config.json")


def test_learning_rate_rises_then_falls(config):
    config = changed(config, ["steps=110", "optimizers.warmup_steps=9", "optimizers.final_factor=0.1"])
    factors = [learning_rate_factor(config, step) for step in range(111)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3], abs=2e-3)
    assert max(factors) == pytest.approx(1.0, abs=1e-3) == factors[9]
    assert factors[9 + 101 // 2] == pytest.approx(0.55, abs=0.02)
    assert factors[110] == pytest.approx(0.1)
    flat = changed(config, ["optimizers.warmup_steps=0", "optimizers.final_factor=1"])
    assert {learning_rate_factor(flat, step) for step in (0, 50, 109)} == {1.0}


def test_batches_must_divide(config):
    assert micro_batch_size(changed(config, ["batch_size=12", "accumulate=3"]), 2) == 2
    with pytest.raises(ReenactError, match="multiple of 8"):
        micro_batch_size(changed(config, ["batch_size=12", "accumulate=4"]), 2)
