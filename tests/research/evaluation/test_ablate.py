"""`reenactor evaluate ablate`: two tiny recipes, skipped when done, continued when interrupted."""

import argparse
import json

import pytest

from reenactor.cli import evaluate
from reenactor.core import ReenactError
from reenactor.core.progress import Silent
from reenactor.models.marionette import MarioNETteConfig, MarioNETteObjectiveConfig
from reenactor.nn.losses import RandomVgg
from reenactor.research import ablation, recipes
from reenactor.research.ablation import Clock, spent_before
from reenactor.research.evaluation import ablation_tables, read_results
from reenactor.research.training import PairData, RunConfig, loop

TINY = MarioNETteConfig(
    resolution=32, base_width=4, max_width=8, levels=2, wide=False, blender_blocks=1, discriminator_blocks=2
)


def tiny(name, seed):
    return RunConfig(
        recipe=name,
        objective=MarioNETteObjectiveConfig(model=TINY, vgg19=RandomVgg(width=0.0625), perceptual_vgg_face=0),
        data=PairData(size=32, targets=1),
        steps=1000,
        batch_size=1,
        workers=0,
        save_every=2,
        seed=seed,
    )


@pytest.fixture
def call(monkeypatch, pack, tmp_path, capsys):
    """Run the action on two tiny recipes: what it prints."""
    for seed, name in enumerate(("one", "two")):
        monkeypatch.setitem(recipes.RECIPES, name, lambda name=name, seed=seed: tiny(name, seed))

    def run(*arguments, names=("one", "two")):
        top = argparse.ArgumentParser()
        evaluate.add_parser(top.add_subparsers())
        data = ("--data", pack, "--out", tmp_path, "--split", "train", "--images", 2, "--size", 64)
        options = (*data, "--workers", 0, "--accelerator", "cpu", *arguments)
        args = top.parse_args(["evaluate", "ablate", *names, *map(str, options)])
        capsys.readouterr()
        assert args.run(args) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_trained_drawn_compared_and_done_once(call, tmp_path, monkeypatch):
    said = call("--steps", 2)
    rows = [line for line in said.splitlines() if line.startswith(("| one |", "| two |", "| *minus one*"))]
    assert [row.split("|")[1].strip() for row in rows] == ["one", "two", "*minus one*", "two"]
    assert "one: 2 steps of 1 samples" in said
    assert (tmp_path / "ablation.md").read_text() == said
    assert len(list((tmp_path / "pictures").glob("k1_self-*/*/self-*.webp"))) == 4
    results = read_results(tmp_path / "results.jsonl")
    psnr = {(one.method, one.against): one.value for one in results if one.score == "psnr"}
    assert psnr["two", "one"] == pytest.approx(psnr["two", None] - psnr["one", None], abs=1e-3)
    assert f"{psnr['two', 'one']:.3g} [" in rows[3]

    monkeypatch.setattr(ablation, "train", lambda *a, **k: pytest.fail("what is done is done again"))
    assert call("--steps", 2) == said


@pytest.mark.slow
def test_an_interrupted_one_goes_on(call, tmp_path, monkeypatch):
    """A signal after the first of three steps: no table, but the second call makes the other two."""
    plain, steps = loop._Run._step, []

    def step(run, number, raws):
        steps.append((run.config.recipe, number))
        if len(steps) == 1:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return plain(run, number, raws)

    monkeypatch.setattr(loop._Run, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        call("--steps", 3)
    assert not (tmp_path / "ablation.md").exists()
    call("--steps", 3)
    assert steps == [("one", 0), ("one", 1), ("one", 2), ("two", 0), ("two", 1), ("two", 2)]


@pytest.mark.slow
def test_minutes_are_counted_over_all_calls(call, tmp_path):
    said = call("--minutes", 1e-4)
    assert "one: 1 steps of 1 samples" in said
    run = tmp_path / "runs" / "one"
    assert json.loads((run / "done.json").read_text())["budget"] == {"minutes": 1e-4, "steps": None}
    lines = [{"samples": samples, "seconds": seconds} for samples, seconds in ((0, 2.0), (1, 7.0), (3, 30.0))]
    (run / "time.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert spent_before(run, batch_size=1) == 7.0, "what came after the checkpoint is lost"
    assert spent_before(tmp_path / "nothing", batch_size=1) == 0.0


def test_the_clock_goes_on(tmp_path):
    path = tmp_path / "run" / "time.jsonl"
    path.parent.mkdir()
    clock = Clock(path, 100.0, Silent())
    clock.start("training", 0, 8)
    clock.step(4, 8)
    clock.step(8, 8)
    clock.end()
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert line["samples"] == 4
    assert 100 <= line["seconds"] < 105


@pytest.mark.parametrize(
    ("arguments", "names", "said"),
    [
        (("--steps", 0), ("one", "two"), "--steps must be more than 0"),
        (("--steps", 1), ("one",), "at least two recipes"),
        (("--steps", 1), ("one", "one"), "at least two recipes"),
        (("--steps", 1), ("one", "three"), "no recipe 'three'"),
        (("--steps", 1), ("one", "shape-encoder"), "makes no model that draws"),
        (("--steps", 1, "--set", "a=1"), ("one", "two"), "no such setting"),
    ],
)
def test_bad_input(call, arguments, names, said):
    with pytest.raises(ReenactError, match=said):
        call(*arguments, names=names)


def test_other_settings_are_refused(call, tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "config.json").write_text(tiny("one", 7).model_dump_json())
    with pytest.raises(ReenactError, match="other settings"):
        call("--steps", 2)


def test_no_results_no_tables():
    assert ablation_tables([], "one", []) == []
