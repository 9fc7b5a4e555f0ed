"""Exported folders: their pictures against PyTorch's, and what happens to broken ones."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from reenactor.core import CheckpointError, ReenactError, Runtime
from reenactor.core.files import sha256
from reenactor.engine.portrait import driver_frame, target_set
from reenactor.engine.runtimes import Format, Precision, export_model, load_exported
from reenactor.engine.runtimes.export import parity
from reenactor.engine.runtimes.shape_encoder import export_shape_encoder, load_shape_encoder, read_shape_encoder
from reenactor.face.geometry import mean_face, turned
from reenactor.models import create_model
from reenactor.models.oneshot import ShapeEncoder, ShapeEncoderConfig
from small_models import SMALL, people, small

pytest.importorskip("openvino")
ONNX = pytest.param(Format.ONNX, marks=pytest.mark.slow)
MARIONETTE = pytest.param("marionette", marks=pytest.mark.slow)


# An export takes ten seconds: MarioNETte's two are left to the slow tests.
@pytest.mark.parametrize("kind", [Format.OPENVINO, ONNX])
@pytest.mark.parametrize(
    "name",
    [name if name in ("hybrid", "oneshot") else pytest.param(name, marks=pytest.mark.slow) for name in SMALL],
)
def test_draws_what_pytorch_draws(name, kind, exported):
    model = small(name)
    folder = exported(name, kind)
    one_photo = json.loads((folder / "parity.json").read_text())
    assert one_photo["frames"] == 1
    assert one_photo["max_error"] < 1e-3
    assert parity(model, load_exported(folder), people(model, 3)).max_error < 1e-3


UNLOADED = """
import signal, sys, torch
from pathlib import Path
from reenactor.engine.runtimes.runtimes import OpenVinoRunner, Precision, computes_bf16
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
computes_bf16()
runners = [OpenVinoRunner(Path(sys.argv[1]), ("y",), precision=Precision.FP32) for _ in range(2)]
for runner in runners:
    assert runner({"x": torch.ones(2)})["y"].tolist() == [2.0, 2.0]
del runner, runners[0]
del runners[0]
signal.raise_signal(signal.SIGINT)
assert caught == [1]
"""


def test_signals_after_models_are_unloaded(tmp_path):
    """OpenVINO left the thread a stack for signals that it had unmapped: Ctrl-C was a segmentation fault."""
    import openvino
    from openvino import opset13 as ops

    x = ops.parameter([-1], name="x")
    y = ops.multiply(x, ops.constant([2.0], dtype="f4"))
    y.output(0).tensor.set_names({"y"})
    openvino.save_model(openvino.Model([y], [x]), tmp_path / "double.xml")
    done = subprocess.run(
        [sys.executable, "-c", UNLOADED, str(tmp_path / "double.xml")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_photos_of_any_size(exported):
    from reenactor.engine.runtimes.fast import examples

    model, fast = small("hybrid"), load_exported(exported("hybrid"))
    near = parity(model, fast, examples(model, photos=2, size=96))
    assert near.max_error < 1e-3


@pytest.mark.parametrize("size", [64, 96])
def test_an_opening_mouth_and_a_turned_photo(exported, size):
    """Mouths are filled and photos are mirrored outside of the graphs."""
    model, fast = small("hybrid"), load_exported(exported("hybrid"))
    face = mean_face().points * (0.3 * size) + [size / 2, size / 2, 0]
    shouts = face.copy()
    below = face[:, 1] > face[[13, 14], 1].mean()
    shouts[below, 1] += 0.1 * size
    photos = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    meshes = np.stack([turned(face, np.array([30.0, 0, 0])), face]).astype(np.float32)
    targets = target_set(model, photos, meshes)
    driver = driver_frame(model, shouts[None].astype(np.float32), size)
    code = fast.encode_target(targets)
    assert code.geometry.origins == (0, 1, 0)
    fill = fast.frame_inputs(code, driver)["fill"]
    assert (fill - fill[..., :1, :1]).abs().max() > 0.1
    assert parity(model, fast, [(targets, driver)]).max_error < 1e-3


@pytest.mark.slow
def test_weights_stored_in_fp16(exported):
    folder, model = exported("oneshot", precision=Precision.FP16), small("oneshot")
    assert parity(model, load_exported(folder), people(model, 1)).psnr > 50
    whole = exported("oneshot") / "synthesize.bin"
    assert (folder / "synthesize.bin").stat().st_size < 0.7 * whole.stat().st_size


@pytest.mark.parametrize("name", ["hybrid", MARIONETTE])
def test_bf16(name, exported, tmp_path):
    # The file is the same; only how it is computed differs.
    model, fast = small(name), load_exported(changed(exported(name), tmp_path, precision="bf16"))
    assert parity(model, fast, people(model, 1)).psnr > 40


@pytest.mark.slow
def test_int8(exported):
    model = small("hybrid")
    assert parity(model, load_exported(exported("hybrid", precision=Precision.INT8)), people(model, 1)).psnr > 40


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least_psnr"), [(Precision.FP16, 50), (Precision.INT8, 40)])
def test_smaller_numbers_in_onnx(precision, least_psnr, exported):
    model = small("oneshot")
    near = parity(model, load_exported(exported("oneshot", Format.ONNX, precision)), people(model, 1))
    assert near.psnr > least_psnr


@pytest.mark.slow
def test_openvino_runs_onnx(exported):
    model = small("oneshot")
    fast = load_exported(exported("oneshot", Format.ONNX), runtime=Runtime.OPENVINO)
    assert parity(model, fast, people(model, 1)).max_error < 1e-3


def test_says_what_it_is(exported):
    folder, model = exported("hybrid"), small("hybrid")
    description = json.loads((folder / "export.json").read_text())
    assert description["model"] == "hybrid"
    assert description["config"] == model.config.model_dump(mode="json")
    assert description["graphs"]["enlarge"]["inputs"]["photos"] == [1, "photos", 3, "side", "side"]
    assert description["files"] == {p.name: sha256(p) for p in folder.iterdir() if p.suffix != ".json"}
    fast = load_exported(folder)
    assert (fast.name, fast.resolution, fast.needs) == ("hybrid", model.resolution, model.needs)
    assert fast.version == f"{model.version}-openvino-fp32"


def test_several_frames_at_once(exported):
    from reenactor.core import DriverFrame

    model, fast = small("oneshot"), load_exported(exported("oneshot"))
    (targets, one), (_, other) = people(model, 1, 1)
    both = DriverFrame(
        torch.cat([torch.from_numpy(f.mesh_px) for f in (one, other)]).numpy(),
        {kind: torch.cat([one.maps[kind], other.maps[kind]]) for kind in one.maps},
    )
    code = fast.encode_target(targets)
    drawn = [fast.synthesize(code, frame) for frame in (one, other)]
    assert torch.equal(fast.synthesize(code, both), torch.cat(drawn))


def test_parity_sees_a_difference():
    model, other = small("oneshot"), small("oneshot")
    with torch.no_grad():
        other.generator.decoder.to_rgb.bias += 0.1
    assert parity(model, other, people(model, 1)).max_error > 0.01
    assert parity(model, model, []) is None
    assert parity(model, model, people(model, 1)).psnr > 190


def test_photos_that_the_graphs_do_not_take(exported):
    fast, model = load_exported(exported("oneshot")), small("oneshot")
    (targets, _), *_ = people(model, 33)
    with pytest.raises(ReenactError, match="one to 32"):
        fast.encode_target(targets)
    (targets, _), *_ = people(small("hybrid"), 1)
    with pytest.raises(ReenactError, match="crops of 64 pixels, not 256"):
        fast.encode_target(targets)


def changed(folder, tmp_path, **change):
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return tmp_path / "copy"


def test_broken_folders(exported, tmp_path):
    with pytest.raises(CheckpointError, match=r"export\.json is missing"):
        load_exported(tmp_path)
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_exported(tmp_path)
    (tmp_path / "export.json").write_text("[]")
    with pytest.raises(CheckpointError, match="does not describe"):
        load_exported(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 9}, "version 9"),
        ({"model": "warp"}, "no network"),
        ({"model": "shape-encoder"}, "draws no pictures"),
        ({"config": {"resolution": 1}}, "settings"),
    ],
)
def test_exports_of_others(change, sentence, exported, tmp_path):
    with pytest.raises(ReenactError, match=sentence):
        load_exported(changed(exported("oneshot"), tmp_path, **change))


def test_a_damaged_graph(exported, tmp_path):
    folder = changed(exported("oneshot"), tmp_path)
    path = folder / "synthesize.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"synthesize\.bin is missing or damaged"):
        load_exported(folder)


def test_runtimes_that_do_not_fit(exported):
    with pytest.raises(ReenactError, match="does not run openvino files"):
        load_exported(exported("oneshot"), runtime=Runtime.ONNXRUNTIME)
    with pytest.raises(ReenactError, match="torch does not run"):
        load_exported(exported("oneshot"), runtime="torch")


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    with pytest.raises(ReenactError, match="'warp' cannot be exported"):
        export_model(create_model("warp"), tmp_path / "out")
    with pytest.raises(ReenactError, match="int8 needs frames"):
        export_model(small("oneshot"), tmp_path / "out", precision=Precision.INT8)
    with pytest.raises(ReenactError, match="does not compute in bf16"):
        export_model(small("oneshot"), tmp_path / "out", kind=Format.ONNX, precision=Precision.BF16)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ReenactError, match=r"pip install 'reenactor\[export\]'"):
        export_model(small("oneshot"), tmp_path / "out", kind=Format.ONNX)
    assert not list(tmp_path.iterdir())


def test_shape_encoder(tmp_path):
    torch.manual_seed(0)
    encoder = ShapeEncoder(ShapeEncoderConfig(resolution=64, width=8)).eval()
    near = export_shape_encoder(encoder, tmp_path / "shape")
    assert near.max_error < 1e-4
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        ours, expected = load_shape_encoder(tmp_path / "shape")(images), encoder(images)
    torch.testing.assert_close(ours.points_px, expected.points_px, atol=1e-3, rtol=0)
    with pytest.raises(CheckpointError, match="draws no pictures"):
        load_exported(tmp_path / "shape")
    shipped, digest = read_shape_encoder(None)
    assert shipped.config.resolution == 128
    assert len(digest) == 64
