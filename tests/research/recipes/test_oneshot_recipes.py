"""Paper A's recipes: the rows of its tables, and that one run can begin where another ended."""

from pathlib import Path

import pytest

from reenactor.models.oneshot import OneShotConfig, ShapeEncoderConfig, VerificationConfig
from reenactor.nn.checkpoint import read_checkpoint
from reenactor.nn.losses import VGG16_IMAGENET, RandomVgg
from reenactor.research.data.pairs import PairKind
from reenactor.research.recipes import oneshot
from reenactor.research.training import RunConfig
from reenactor.research.training.loop import train
from reenactor.research.training.machines import make_fabric

DECODERS = {
    "oneshot": oneshot.paper,
    "oneshot-no-concat": oneshot.paper_no_concat,
    "oneshot-lambda-3": oneshot.paper_lambda_3,
    "oneshot-lambda-10": oneshot.paper_lambda_10,
    "oneshot-lambda-50": oneshot.paper_lambda_50,
    "oneshot-lite": oneshot.lite,
    "oneshot-lite-no-concat": oneshot.lite_no_concat,
    "oneshot-lite-lambda-3": oneshot.lite_lambda_3,
    "oneshot-lite-lambda-10": oneshot.lite_lambda_10,
    "oneshot-lite-lambda-50": oneshot.lite_lambda_50,
}
FUSIONS = {"oneshot-fusion": oneshot.paper_fusion, "oneshot-lite-fusion": oneshot.lite_fusion}
SHOTS = {
    "oneshot-1-shot": oneshot.paper_1_shot,
    "oneshot-3-shot": oneshot.paper_3_shot,
    "oneshot-5-shot": oneshot.paper_5_shot,
    "oneshot-lite-1-shot": oneshot.lite_1_shot,
    "oneshot-lite-3-shot": oneshot.lite_3_shot,
    "oneshot-lite-5-shot": oneshot.lite_5_shot,
}
FRAMES = {
    "shape-encoder": oneshot.shape_encoder,
    "shape-encoder-lite": oneshot.shape_encoder_lite,
    "verification": oneshot.verification,
    "verification-lite": oneshot.verification_lite,
}
ALL = DECODERS | FUSIONS | SHOTS | FRAMES


@pytest.mark.parametrize("name", ALL)
def test_complete_and_saved_as_json(name):
    run = ALL[name]()
    assert run.recipe == name
    assert RunConfig.model_validate_json(run.model_dump_json()) == run
    side = run.objective.model.resolution if name not in FUSIONS and "verification" not in name else None
    assert side in (None, run.data.size)


def test_the_papers_numbers():
    run = oneshot.paper()
    adam, objective = run.optimizers, run.objective
    assert (adam.generator_lr, adam.discriminator_lr, adam.betas) == (1e-4, 5e-5, (0.0, 0.999))
    assert (objective.reconstruction, objective.pixel) == (25, 25)
    assert (objective.perceptual, objective.gan, objective.identity) == (1, 1, 1)
    assert objective.model == OneShotConfig.paper(fusion="none")
    assert objective.features == VGG16_IMAGENET
    assert (run.data.size, run.data.targets, run.data.mix) == (256, 1, {PairKind.CONTOUR: 1.0})


@pytest.mark.parametrize("base", ["oneshot", "oneshot-lite"])
def test_rows_of_table_2_differ_in_one_setting(base):
    whole = ALL[base]().model_dump()
    for row, part in (("no-concat", "concatenate"), ("lambda-3", 3), ("lambda-10", 10), ("lambda-50", 50)):
        changed = ALL[f"{base}-{row}"]().model_dump()
        assert changed.pop("recipe") == f"{base}-{row}"
        if part == "concatenate":
            assert changed["objective"]["model"].pop("concatenate") is False
            changed["objective"]["model"]["concatenate"] = True
        else:
            assert changed["objective"].pop("reconstruction") == part
            changed["objective"]["reconstruction"] = 25
        assert changed == {name: value for name, value in whole.items() if name != "recipe"}


@pytest.mark.parametrize("name", SHOTS)
def test_more_shots_take_more_steps(name):
    run, shots = SHOTS[name](), int(name.split("-")[-2])
    assert run.steps == 200 * shots
    base = DECODERS[name.removesuffix(f"-{shots}-shot")]()
    assert run.optimizers.generator_lr < base.optimizers.generator_lr
    assert run.objective.init.parts[-2] == f"{base.recipe}-fusion"
    assert run.objective.model.fusion == "learned"


@pytest.mark.parametrize("name", [name for name in ALL if "lite" in name])
def test_lite_runs_need_nothing_but_a_pack(name):
    objective = ALL[name]().objective
    assert getattr(objective, "verification", None) is None
    assert isinstance(getattr(objective, "features", None) or RandomVgg(), RandomVgg)


# On the small pack, with small networks.

TINY = {"resolution": 64, "base_width": 4, "max_width": 8, "spade_from": 8, "discriminator_width": 4, "fusion_width": 8}


def small(run, objective, **data):
    return run.model_copy(
        update={
            "objective": objective,
            "data": run.data.model_copy(update={"size": 64, **data}),
            "steps": 2,
            "batch_size": 2,
            "workers": 0,
            "precision": "fp32",
            "sample_every": 2,
            "save_every": 2,
        }
    )


@pytest.fixture
def trained(pack, tmp_path):
    """Trains in this process; gives the folder of the weights."""

    def go(run) -> Path:
        out = tmp_path / run.recipe
        out.mkdir()
        return train(run, pack, out, make_fabric(accelerator="cpu", devices=1)).model

    return go


def test_from_the_decoder_to_fusion_to_one_person(trained):
    run = oneshot.lite()
    vgg = RandomVgg(width=1 / 16)
    changes = {"model": OneShotConfig(**TINY, fusion="none"), "features": vgg}
    decoder = trained(small(run, run.objective.model_copy(update=changes)))
    run = oneshot.lite_fusion()
    fused = trained(small(run, run.objective.model_copy(update={"decoder": decoder, "features": vgg})))
    run = oneshot.lite_1_shot()
    changes = {"model": OneShotConfig(**TINY, fusion="learned"), "features": vgg, "init": fused}
    personal = trained(small(run, run.objective.model_copy(update=changes), people=("person1",)))
    first, second, third = (read_checkpoint(folder) for folder in (decoder, fused, personal))
    assert [one.config["fusion"] for one in (first, second, third)] == ["none", "learned", "learned"]
    assert all((second.tensors[name] == tensor).all() for name, tensor in first.tensors.items())
    moved = {name for name, tensor in third.tensors.items() if not (tensor == second.tensors[name]).all()}
    assert moved
    assert not any(name.startswith("generator.fusion") for name in moved)


@pytest.mark.parametrize("name", ["shape-encoder-lite", "verification-lite"])
def test_from_frames(trained, name):
    run = FRAMES[name]()
    model = ShapeEncoderConfig(resolution=64, width=8) if "shape" in name else VerificationConfig(width=8)
    folder = trained(small(run, run.objective.model_copy(update={"model": model})))
    assert read_checkpoint(folder).config == model.model_dump()
