"""Recipes: complete, saved as JSON, with the papers' numbers; one run can begin where another ended."""

from pathlib import Path

import pytest

from reenactor.core import Alignment, ReenactError
from reenactor.models.oneshot import OneShotConfig, ShapeEncoderConfig, VerificationConfig
from reenactor.nn.checkpoint import read_checkpoint
from reenactor.nn.losses import VGG16_IMAGENET, VGG19_IMAGENET, RandomVgg
from reenactor.research.data.pairs import PairKind
from reenactor.research.recipes import RECIPES, recipe
from reenactor.research.training import saved_config, updated
from reenactor.research.training.log import read_log
from reenactor.research.training.loop import train
from reenactor.research.training.machines import make_fabric


@pytest.mark.parametrize("name", RECIPES)
def test_complete_and_saved_as_json(name, tmp_path):
    run = recipe(name)
    assert run.recipe == name
    about = RECIPES[name].__doc__
    assert about
    assert "\n" not in about
    path = tmp_path / "config.json"
    path.write_text(run.model_dump_json())
    assert saved_config(path) == run
    model = getattr(run.objective, "model", None)
    side = getattr(model, "resolution", None)
    assert side is None or run.data.size in (side, 256)


def test_unknown_recipe(tmp_path):
    with pytest.raises(ReenactError, match="no recipe 'nothing'"):
        recipe("nothing")
    with pytest.raises(ReenactError, match="cannot read"):
        saved_config(tmp_path / "config.json")


def test_the_papers_numbers():
    run = recipe("oneshot")
    adam, objective = run.optimizers, run.objective
    assert (adam.generator_lr, adam.discriminator_lr, adam.betas) == (1e-4, 5e-5, (0.0, 0.999))
    assert (objective.reconstruction, objective.pixel) == (25, 25)
    assert (objective.perceptual, objective.gan, objective.identity) == (1, 1, 1)
    assert objective.model == OneShotConfig.paper(fusion="none")
    assert objective.features == VGG16_IMAGENET
    assert (run.data.size, run.data.targets, run.data.mix) == (256, 1, {PairKind.CONTOUR: 1.0})


def test_marionettes_numbers():
    run = recipe("marionette")
    objective, data = run.objective, run.data
    assert (run.optimizers.generator_lr, run.optimizers.discriminator_lr) == (5e-5, 2e-4)
    assert (objective.gan, objective.perceptual_vgg19, objective.perceptual_vgg_face) == (1, 10, 0.01)
    assert (objective.feature_matching, objective.pixel_l1, objective.hull_divided_by) == (10, 0, "pixels")
    assert (data.targets, data.mix, data.choice, data.least_gap_s) == (4, {PairKind.CLIP: 1.0}, "uniform", 0)


def test_the_perceptual_loss_as_cited():
    run = recipe("oneshot-vgg19")
    changes = {"objective.features": VGG19_IMAGENET, "objective.layer_weights": [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]}
    assert run == updated(recipe("oneshot"), {"recipe": "oneshot-vgg19"} | changes)
    assert recipe("oneshot").objective.layer_weights == "sum"


@pytest.mark.parametrize("base", ["oneshot", "oneshot-lite"])
@pytest.mark.parametrize(
    ("row", "setting", "value"),
    [
        ("no-concat", "objective.model.concatenate", False),
        ("lambda-3", "objective.reconstruction", 3),
        ("lambda-10", "objective.reconstruction", 10),
        ("lambda-50", "objective.reconstruction", 50),
    ],
)
def test_rows_of_table_2_differ_in_one_setting(base, row, setting, value):
    name = f"{base}-{row}"
    assert recipe(name) == updated(recipe(base), {"recipe": name, setting: value})


@pytest.mark.parametrize("base", ["oneshot", "oneshot-lite"])
@pytest.mark.parametrize("shots", [1, 3, 5])
def test_more_shots_take_more_steps(base, shots):
    run, whole = recipe(f"{base}-{shots}-shot"), recipe(base)
    assert (run.steps, run.data.photos) == (200 * shots, shots)
    assert run.optimizers.generator_lr == whole.optimizers.generator_lr / 2
    assert run.objective.init.parts[-2] == f"{base}-fusion"
    assert run.objective.model.fusion == "learned"


@pytest.mark.parametrize("name", [name for name in RECIPES if "lite" in name])
def test_lite_runs_need_nothing_but_a_pack(name):
    objective = recipe(name).objective
    assert getattr(objective, "verification", None) is None
    assert isinstance(getattr(objective, "features", None) or RandomVgg(), RandomVgg)


# On the small pack, with small networks.

TINY = {
    "resolution": 64,
    "base_width": 4,
    "max_width": 8,
    "spade_from": 8,
    "discriminator_width": 4,
    "fusion_width": 8,
    "alignment": Alignment.MEAN_SHAPE,
}


def small(name, **changes):
    settings = {
        "data.size": 64,
        "steps": 2,
        "batch_size": 2,
        "workers": 0,
        "precision": "fp32",
        "sample_every": 2,
        "save_every": 2,
    }
    return updated(recipe(name), settings | changes)


@pytest.fixture
def trained(pack, tmp_path):
    """Trains in this process; gives the folder of the weights."""

    def go(run) -> Path:
        out = tmp_path / run.recipe
        out.mkdir()
        return train(run, pack, out, make_fabric(accelerator="cpu", devices=1)).model

    return go


@pytest.mark.slow
def test_from_the_decoder_to_fusion_to_one_person(trained):
    models = {fusion: OneShotConfig(**TINY, fusion=fusion) for fusion in ("none", "learned")}
    vgg = {"objective.features": RandomVgg(width=1 / 16)}
    decoder = trained(small("oneshot-lite", **vgg, **{"objective.model": models["none"]}))
    fused = trained(small("oneshot-lite-fusion", **{"objective.decoder": decoder}))
    changes = {"objective.model": models["learned"], "objective.init": fused, "data.people": ["person1"]}
    personal = trained(small("oneshot-lite-1-shot", **vgg, **changes))
    first, second, third = (read_checkpoint(folder) for folder in (decoder, fused, personal))
    assert [one.config["fusion"] for one in (first, second, third)] == ["none", "learned", "learned"]
    assert all((second.tensors[name] == tensor).all() for name, tensor in first.tensors.items())
    moved = {name for name, tensor in third.tensors.items() if not (tensor == second.tensors[name]).all()}
    assert moved
    assert not any(name.startswith("generator.fusion") for name in moved)


@pytest.mark.slow
def test_the_papers_order_on_photos_alone(edited, tmp_path):
    """One photo a person; each run reads what the one before it wrote. The networks are small, the losses all there."""
    photos = edited(lambda row: row["kind"] == "photo")
    models = {fusion: OneShotConfig(**TINY, fusion=fusion) for fusion in ("none", "learned")}

    def trained(name, **changes):
        (tmp_path / name).mkdir()
        run = small(name, **changes)
        return train(run, photos, tmp_path / name, make_fabric(accelerator="cpu", devices=1)).model

    verifier = trained("verification", **{"objective.model": VerificationConfig(width=8)})
    losses = {"objective.features": RandomVgg(width=1 / 16), "objective.verification.folder": verifier}
    decoder = trained("oneshot", **losses, **{"objective.model": models["none"]})
    fused = trained("oneshot-fusion", **{"objective.decoder": decoder})
    changes = {"objective.model": models["learned"], "objective.init": fused, "data.people": ["person1"]}
    assert read_checkpoint(trained("oneshot-1-shot", **losses, **changes)).config["fusion"] == "learned"
    logged = read_log(tmp_path / "oneshot")[0]
    assert logged["generator/identity"] > 0
    before, after = (read_checkpoint(tmp_path / name / "model") for name in ("oneshot", "oneshot-fusion"))
    assert all((after.tensors[name] == tensor).all() for name, tensor in before.tensors.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shape-encoder-lite", "verification-lite"])
def test_from_frames(trained, name):
    model = ShapeEncoderConfig(resolution=64, width=8) if "shape" in name else VerificationConfig(width=8)
    folder = trained(small(name, **{"objective.model": model}))
    assert read_checkpoint(folder).config == model.model_dump()


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("oneshot")])
def test_oneshots_data_and_model_are_aligned_to_the_mean_shape(name):
    run = recipe(name)
    assert run.data.alignment is Alignment.MEAN_SHAPE
    # FusionNet's is the decoder's, which its folder says.
    model = getattr(run.objective, "model", None)
    assert ("fusion" in name) == (model is None)
    assert model is None or model.alignment is Alignment.MEAN_SHAPE
