"""What the contract asks of every model."""

import inspect
import json
import shutil

import numpy as np
import psutil
import pytest
import torch
from model_helpers import as_targets

from reenactor.core import CheckpointError, DriverFrame, ReenactError, TargetCode, TargetSet
from reenactor.face.maps import draw_maps
from reenactor.face.retarget import Retargeter
from reenactor.models import METHODS, Needs, ReenactmentModel, create_model
from reenactor.models.hybrid import HybridConfig
from reenactor.models.marionette import MarioNETteConfig
from reenactor.models.oneshot import OneShotConfig
from reenactor.models.registry import model_of
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

STANDARD_SIZE = 256


# The contract does not ask how well a network was trained: small ones with fresh weights do.
SMALL = {
    "hybrid": HybridConfig(resolution=64, base_width=16),
    "marionette": MarioNETteConfig(base_width=4, max_width=8, levels=2, wide=False, blender_blocks=1),
    "oneshot": OneShotConfig(base_width=4, max_width=8, fusion_width=4),
}


def fresh(name):
    torch.manual_seed(0)
    return METHODS[name].model(SMALL[name]).eval() if name in SMALL else create_model(name)


@pytest.fixture(scope="module", params=list(METHODS))
def model(request):
    return fresh(request.param)


@pytest.fixture(scope="module")
def photos(open_mouthed, closed_mouthed):
    """Eight different photos of one person: two expressions in four brightnesses."""
    pair = [person.cut(STANDARD_SIZE) for person in (open_mouthed, closed_mouthed)]
    return [(np.uint8(pixels * gain), mesh) for gain in (1.0, 0.9, 0.8, 0.7) for pixels, mesh in pair]


@pytest.fixture(scope="module")
def wanted(photos, motions):
    """Landmarks of three different moments."""
    meshes, neutral = motions["talk"]
    retarget = Retargeter(photos[0][1], neutral)
    return np.stack([retarget(meshes[i]) for i in (10, 60, 120)])


@torch.inference_mode()
def encode(model, *photos):
    return model.encode_target(as_targets(*photos, maps=model.needs.maps))


@torch.inference_mode()
def draw(model, code, meshes, size=STANDARD_SIZE):
    return model.synthesize(code, DriverFrame(meshes, draw_maps(model.needs.maps, torch.from_numpy(meshes), size)))


def test_says_what_it_is(model):
    assert METHODS[model.name].model is type(model)
    assert model.version
    assert isinstance(model.needs, Needs)
    assert model.needs.crop_scale > 1
    assert model.needs.max_targets is None or model.needs.max_targets >= 1
    assert isinstance(model.trained, bool)
    assert isinstance(model, ReenactmentModel)
    assert not inspect.isabstract(type(model))


def test_unknown_model_is_refused():
    with pytest.raises(ReenactError, match="warp"):
        create_model("no such model")


@pytest.mark.parametrize("name", list(SMALL))
def test_comes_back_from_its_checkpoint(name, photos, wanted, tmp_path):
    model = fresh(name)
    config = model.config.model_dump(mode="json")
    write_checkpoint(tmp_path, Checkpoint(name, config, model.state_dict()))
    again = create_model(name, tmp_path)
    assert again.version.startswith(f"{model.version}-")
    assert torch.equal(*(draw(one, encode(one, photos[0]), wanted[:1]) for one in (model, again)))
    with pytest.raises(ReenactError, match="needs no weights"):
        create_model("warp", tmp_path)
    with pytest.raises(CheckpointError, match="another release"):
        model_of(Checkpoint(name, config, {}))
    with pytest.raises(CheckpointError, match="another release"):
        model_of(Checkpoint(name, config | {"colour": 3}, read_checkpoint(tmp_path).tensors))


OLDER = {
    "marionette": {"attention_width": None},
    "oneshot": {"noise": False},
}
"""Settings that checkpoints of earlier releases have and this one does not."""


@pytest.mark.parametrize("name", list(OLDER))
def test_older_settings_are_read_at_the_value_that_survived(name):
    model = fresh(name)
    older = model.config.model_dump(mode="json") | OLDER[name]
    assert model_of(Checkpoint(name, older, model.state_dict())).config == model.config


@pytest.mark.parametrize(
    ("name", "setting", "value"), [("marionette", "attention_width", 64), ("oneshot", "noise", True)]
)
def test_older_settings_at_another_value_are_refused(name, setting, value):
    older = METHODS[name].model.config_type().model_dump() | OLDER[name] | {setting: value}
    with pytest.raises(CheckpointError, match=f"no longer has {setting}={value}"):
        model_of(Checkpoint(name, older, {}))


FIRST_HYBRID = {"resolution": 128, "base_width": 32, "mesh_prior": True, "fusion": True, "mouth": 96}
"""Settings of another network, which had the name before."""


@pytest.mark.parametrize(
    ("kind", "sentence"), [("hybrid", "of another release"), ("hybrid2", "'hybrid2' is not a model that draws")]
)
def test_weights_of_hybrids_that_are_gone_are_refused(kind, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        model_of(Checkpoint(kind, FIRST_HYBRID, fresh("hybrid").state_dict()))


def test_a_model_without_weights_says_so(monkeypatch):
    monkeypatch.setattr("reenactor.models.registry.shipped_checkpoint", lambda name: None)
    with pytest.raises(CheckpointError, match="no weights of 'hybrid' ship with this release; train some"):
        create_model("hybrid")


def test_constants_that_shape_pictures_are_in_the_checkpoint(photos, wanted):
    config = SMALL["hybrid"]
    tensors = fresh("hybrid").state_dict()
    drawn = []
    for changes in ({}, {"stretched": 0.0}, {"hole_colour": (0.9, 0.9, 0.9)}):
        model = model_of(Checkpoint("hybrid", config.model_dump() | changes, tensors))
        # The mouth opens.
        drawn.append(draw(model, encode(model, photos[1], photos[0]), wanted[1:2]))
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", list(SMALL))
def test_gpu_and_cpu_agree(name, photos, wanted):
    model = fresh(name).double()
    images = as_targets(photos[0], maps=model.needs.maps)
    driver = draw_maps(model.needs.maps, torch.from_numpy(wanted), STANDARD_SIZE)

    @torch.inference_mode()
    def drawn(device):
        there = model.to(device)
        to = {"device": device, "dtype": torch.float64}
        maps = {kind: one.to(**to) for kind, one in images.maps.items()}
        code = there.encode_target(TargetSet(images.images.to(**to), images.mesh_px, maps))
        frame = DriverFrame(wanted, {kind: one.to(**to) for kind, one in driver.items()})
        return there.synthesize(code, frame).cpu()

    torch.testing.assert_close(drawn("cuda"), drawn("cpu"), atol=1e-6, rtol=0)


def test_weights_of_another_model_are_refused(tmp_path):
    write_checkpoint(tmp_path, Checkpoint("somebody", {}, {}))
    with pytest.raises(CheckpointError, match="holds weights of 'somebody'"):
        create_model("marionette", tmp_path)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_draws_from_one_to_eight_photos(model, photos, wanted, k):
    used = min(k, model.needs.max_targets or k)
    image = draw(model, encode(model, *photos[:used]), wanted)
    assert image.shape == (3, 3, STANDARD_SIZE, STANDARD_SIZE)
    assert image.dtype == torch.float32
    assert torch.isfinite(image).all()
    assert image.min() >= -1
    assert image.max() <= 1
    assert not torch.equal(image[0], image[1])
    if model.name not in SMALL:  # a picture of somebody: neither flat nor the same in each frame
        assert image.std() > 0.1
        assert (image[0] - image[1]).abs().mean() > 1e-3


@pytest.mark.parametrize("size", [64, 96, 320, 512])
def test_other_sizes(model, open_mouthed, size):
    if not model.needs.any_resolution:
        pytest.skip("works at its own size only")
    photo = open_mouthed.cut(size)
    assert draw(model, encode(model, photo), photo[1][None], size).shape == (1, 3, size, size)


@pytest.mark.parametrize(("height", "width"), [(250, 250), (256, 320), (128, 100)])
def test_odd_sizes_are_refused(model, open_mouthed, height, width):
    targets = as_targets((np.zeros((height, width, 3), np.uint8), open_mouthed.mesh_px))
    with pytest.raises(ValueError, match="32"):
        model.encode_target(targets)


@pytest.mark.parametrize("k", [1, 3])
def test_encoding_once_equals_encoding_for_every_frame(model, photos, wanted, k):
    targets = photos[: min(k, model.needs.max_targets or k)]
    code = encode(model, *targets)
    once = [draw(model, code, mesh[None]) for mesh in wanted]
    each = [draw(model, encode(model, *targets), mesh[None]) for mesh in wanted]
    assert all(torch.equal(a, b) for a, b in zip(once, each, strict=True))


def test_batch_equals_loop(model, photos, wanted):
    code = encode(model, photos[0])
    loop = torch.cat([draw(model, code, mesh[None]) for mesh in wanted])
    apart = (draw(model, code, wanted) - loop).abs()
    # The flows of a fresh network are wild: at edges they enlarge rounding.
    assert apart.mean() < 1e-5
    assert apart.max() < (0.01 if model.name in SMALL else 1e-5)


def test_repeats_bit_for_bit_whatever_was_drawn_between(model, photos, wanted):
    targets = as_targets(*photos[: min(2, model.needs.max_targets or 2)], maps=model.needs.maps)
    before = targets.images.clone(), targets.mesh_px.copy(), wanted.copy()
    code = model.encode_target(targets)
    first = draw(model, code, wanted[:1])
    draw(model, code, wanted[1:])
    encode(model, photos[1])
    assert torch.equal(draw(model, code, wanted[:1]), first)
    assert torch.equal(draw(fresh(model.name), code, wanted[:1]), first)
    # What it was given stays as it was.
    assert torch.equal(targets.images, before[0])
    np.testing.assert_array_equal(targets.mesh_px, before[1])
    np.testing.assert_array_equal(wanted, before[2])


def test_another_models_code_is_refused(model, wanted):
    with pytest.raises(TypeError, match="Code"):
        model.synthesize(TargetCode(), DriverFrame(wanted))


def test_code_cannot_be_changed(model, photos):
    code = encode(model, photos[0])
    assert isinstance(code, TargetCode)
    with pytest.raises(AttributeError):
        setattr(code, next(iter(vars(code))), None)


HYBRID = SMALL["hybrid"].model_dump(mode="json")
STRANGE = {
    "files are a list": {"files": []},
    "a file elsewhere": {"files": {"../../model.safetensors": "0"}},
    "a file that paints the terminal": {"files": {"\u001b[2J": "0"}},
    "a file that is not there": {"files": {"other.safetensors": "0"}},
    "no files": {"files": {}},
    "settings are a list": {"config": [1]},
    "no kind": {"kind": None},
    "another kind": {"kind": "warp"},
    "a kind that paints the terminal": {"kind": "\u001b[2J"},
    "another version": {"version": {"a": "\u001b[2J" * 99}},
    "unknown setting": {"config": HYBRID | {"nothing": 1}},
    "wrong type": {"config": HYBRID | {"base_width": "wide"}},
    # Memory for these weights is not even asked for.
    "far more channels": {"config": HYBRID | {"base_width": 256}},
    "channels without end": {"config": HYBRID | {"base_width": 8 * 10**6}},
    "pixels without end": {"config": HYBRID | {"resolution": 32 * 10**6}},
    "no number": {"config": HYBRID | {"stretched": float("nan")}},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "hybrid"
    model = fresh("hybrid")
    write_checkpoint(folder, Checkpoint("hybrid", HYBRID, model.state_dict()))
    return folder


@pytest.mark.parametrize("strange", STRANGE)
def test_weights_that_strangers_write(strange, written, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(written, folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | STRANGE[strange]))
    before = psutil.Process().memory_info().rss
    with pytest.raises(CheckpointError) as error:
        create_model("hybrid", folder)
    assert str(error.value).isprintable()
    assert psutil.Process().memory_info().rss < before + 500 * 2**20


@pytest.mark.parametrize("text", ["[" * 100_000, "\x00", "[]", "{}", '{"format": "reenactor-checkpoint"}', b"\xff\xfe"])
def test_descriptions_that_strangers_write(text, written, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(written, folder)
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError) as error:
        create_model("hybrid", folder)
    assert str(error.value).isprintable()


def test_a_card_in_another_encoding_is_read(written, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(written, folder)
    (folder / "card.md").write_bytes(b"gr\xfcn")
    assert read_checkpoint(folder).card == "gr\ufffdn"
