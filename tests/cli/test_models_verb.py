"""`reenactor models` and `reenactor train`: what a user reads, and sentences for what cannot be."""

import pytest

from reenactor.cli.main import BAD_INPUT, main
from reenactor.engine.loading import SYSTEMS
from reenactor.research.recipes import RECIPES


def test_lists_everything_with_sizes(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names == [*SYSTEMS, *RECIPES]
    paper = next(line for line in lines if line.startswith("  marionette  ") and "64.0 M" in line)
    assert "MarioNETte as in the paper" in paper


def test_verbose_counts_operations(capsys, monkeypatch):
    monkeypatch.setattr("reenactor.research.recipes.RECIPES", {"marionette": RECIPES["marionette"]})
    assert main(["models", "-v"]) == 0
    # The paper's sizes: models/marionette/README.md.
    assert "64.0 M parameters; 167.2 GFLOP a photo and 191.7 a frame at 256 px" in capsys.readouterr().out


def test_operations_of_small_models_are_counted(capsys, monkeypatch):
    small = {name: make for name, make in RECIPES.items() if "lite" in name or name == "hybrid"}
    monkeypatch.setattr("reenactor.research.recipes.RECIPES", small)
    assert main(["models", "-v"]) == 0
    lines = capsys.readouterr().out.splitlines()[-len(small) :]
    drawing = [line for line in lines if not any(name in line for name in ("encoder", "verification", "-fusion "))]
    assert len(drawing) > 10
    assert all("GFLOP a photo" in line for line in drawing)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no recipe 'nothing'"),
        (["marionette-lite", "--set", "steps=0"], "steps cannot be"),
        (["marionette-lite", "--max-minutes", "0"], "--max-minutes must be more than 0"),
        (["marionette-lite", "--overfit", "-1"], "--overfit must be more than 0"),
        (["marionette-lite", "--devices", "two", "--accelerator", "cpu"], "--devices must be a whole number"),
        (["marionette-lite", "--accelerator", "abacus"], "cannot train on"),
        (["marionette-lite", "--accelerator", "cpu"], "holds no finished pack"),
    ],
)
def test_training_that_cannot_be(tmp_path, capsys, arguments, message):
    assert main(["train", *arguments, "--data", str(tmp_path / "pack"), "--out", str(tmp_path / "run")]) == BAD_INPUT
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_is_not_begun_twice(tmp_path, capsys):
    (tmp_path / "config.json").write_text(RECIPES["marionette-lite"]().model_dump_json())
    (tmp_path / "checkpoints" / "step-00000500").mkdir(parents=True)
    where = ["--data", str(tmp_path), "--out", str(tmp_path)]
    assert main(["train", "marionette-lite", *where]) == BAD_INPUT
    assert "add --resume" in capsys.readouterr().err
    assert main(["train", "marionette", *where, "--resume"]) == BAD_INPUT
    assert "holds a run of the recipe 'marionette-lite'" in capsys.readouterr().err
