"""`reenactor export` as a user calls it."""

import json

import pytest
import torch

from reenactor.cli.main import BAD_INPUT, main
from reenactor.models.oneshot import SHAPE_ENCODER, ShapeEncoder, ShapeEncoderConfig
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from small_models import small


def checkpoint_of(model, kind, folder):
    write_checkpoint(folder, Checkpoint(kind, model.config.model_dump(mode="json"), model.state_dict()))
    return str(folder)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hybrid", "--precision", "int8"], "give a pack with --data"),
        (["warp"], "'warp' cannot be exported"),
        (["shape-encoder", "--weights", "nowhere"], "nowhere holds no weights"),
        (["nobody"], "there is no model 'nobody'"),
    ],
)
def test_bad_input(arguments, sentence, tmp_path, capsys):
    assert main(["export", *arguments, "--out", str(tmp_path / "out")]) == BAD_INPUT
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_shape_encoder(tmp_path, capsys):
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    encoder = ShapeEncoder(ShapeEncoderConfig(resolution=64, width=8))
    weights, out = checkpoint_of(encoder, SHAPE_ENCODER, tmp_path / "weights"), tmp_path / "out"
    assert main(["export", "shape-encoder", "--weights", weights, "--out", str(out)]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert json.loads((out / "export.json").read_text())["checkpoint"] == read_checkpoint(weights).digest


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("hybrid", "int8"), ("oneshot", "fp32")])
def test_with_a_pack_and_without(name, precision, tmp_path, pack, capsys):
    pytest.importorskip("openvino")
    weights, out = checkpoint_of(small(name), name, tmp_path / "weights"), tmp_path / "out"
    data = ["--data", str(pack)] if precision == "int8" else []
    arguments = ["export", name, "--weights", weights, "--out", str(out), "--precision", precision, *data]
    assert main(arguments) == 0, capsys.readouterr().err
    assert json.loads((out / "parity.json").read_text())["psnr"] > 30
