"""`reenactor evaluate`: each action by its arguments, on the small pack."""

import argparse
import json
import re
import shutil

import numpy as np
import pytest

from onnx_files import write_network
from reenactor.cli import evaluate
from reenactor.core import ReenactError
from reenactor.face.geometry import mean_face
from reenactor.media import read_image
from reenactor.nn.checkpoint import shipped_checkpoint
from reenactor.research.evaluation.retargeting import SURFACE

pytestmark = pytest.mark.usefixtures("quick_intervals")


@pytest.mark.slow
def test_everything_by_one_command(call, pack, tmp_path):
    data = ("--data", pack, "--split", "train", "--cases", 3, "--size", 128)
    said = call("run", *data, "--models", "warp", "--protocol", "self,different", "--k", "1,2", "--out", tmp_path)
    assert "### self, 2 target pictures" in said
    assert "other data, not comparable" in said
    assert "| warp |" in said
    assert (tmp_path / "tables.html").exists()
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {
        "grid_k1_self.png",
        "m_psnr_k2_self.png",
        "failures_k1_different_warp.png",
    }
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert {json.loads(line)["metric"] for line in lines} >= {"csim_k1_self", "aucon_k2_different"}
    assert (
        call("run", *data, "--models", "warp", "--protocol", "self,different", "--k", "1,2", "--out", tmp_path) == said
    )
    assert call("table", tmp_path) == said
    assert call("table", tmp_path / "results.jsonl", "--format", "latex").startswith(r"\begin{table}")
    few = call("table", tmp_path, "--scores", "csim,nme", "--against", "target shown as output").splitlines()
    assert "| method | CSIM ↑ | NME [% of the eye distance] ↓ | failures |" in few
    assert sum(line.startswith("| warp - target") for line in few) == 4
    with pytest.raises(ReenactError, match="there is no score csimm"):
        call("table", tmp_path, "--scores", "csimm")


def test_the_background_may_be_put_back(call, pack, tmp_path):
    data = ("--data", pack, "--split", "train", "--cases", 2, "--size", 128)
    models = f"warp,hybrid={shutil.make_archive(tmp_path / 'weights', 'zip', shipped_checkpoint('hybrid'))}"
    said = call("run", *data, "--models", models, "--background", "still", "--out", tmp_path, "--no-figures")
    assert "| warp (still background) |" in said
    assert "| hybrid (still background) |" in said
    made = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])
    assert made["method"] == "target shown as output" or made["config"]["background"] == "still"


def test_paper_bs_claim_with_the_same_head_on_both_sides(call, pack, tmp_path):
    data = ("--data", pack, "--split", "train", "--cases", 2, "--size", 64, "--protocol", "different", "--no-figures")
    head = ("--transfer", "absolute,transformer", "--head", "absolute")
    said = call("run", *data, "--models", "warp", *head, "--out", tmp_path)
    assert "| warp (absolute) |" in said
    assert "| warp (transformer, absolute head) |" in said
    lines = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    turned = {line["method"]: (line["transfer"], line["config"].get("head")) for line in lines if line["config"]}
    assert turned["warp (absolute)"] == ("absolute", None)
    assert turned["warp (transformer, absolute head)"] == ("transformer", "absolute")
    with pytest.raises(ReenactError, match="the transfer must be one of parts"):
        call("run", *data, "--models", "warp", "--transfer", "absolute,sideways", "--out", tmp_path)


def test_another_tool(call, pack, tmp_path):
    data = ("--data", pack, "--split", "train", "--cases", 2, "--size", 128)
    assert "2 cases" in call("export", *data, "--inputs", "--out", tmp_path / "inputs")
    drawn = tmp_path / "their tool"
    drawn.mkdir()
    for folder in (tmp_path / "inputs").glob("self-*"):
        (drawn / f"{folder.name}.png").write_bytes((folder / "driver.png").read_bytes())
    call("export", *data, "--model", "warp", "--out", tmp_path / "warp", "--name", "mine")
    cases = tmp_path / "inputs" / "cases.json"
    said = call("score", drawn, tmp_path / "warp", "--cases", cases, "--no-figures", "--out", tmp_path / "out")
    assert "| their tool | 1 [1, 1] |" in said
    assert "| mine |" in said
    assert not (tmp_path / "out" / "figures").exists()


def test_judges_of_the_papers(call, pack, tmp_path):
    data = ("--data", pack, "--split", "train", "--cases", 2, "--size", 128)
    call("export", *data, "--model", "warp", "--out", tmp_path / "warp")
    network = write_network(tmp_path / "tiny.onnx")
    score = ("score", tmp_path / "warp", "--no-figures", "--workers", 0)
    ours = call(*score, "--out", tmp_path / "ours")
    theirs = call(*score, "--out", tmp_path / "theirs", "--judge", "arcface", network, "--masked", "black")
    assert "Judged by dlib's network" in ours
    assert "Judged by the pixels (mean over the face's hull): M-SSIM; M-PSNR." in ours
    assert "Judged by ArcFace tiny " in theirs
    assert "Judged by the pixels (black outside the face's hull): M-SSIM; M-PSNR." in theirs
    assert call(*score, "--out", tmp_path / "ours", "--judge", "dlib") == ours
    with pytest.raises(ReenactError, match=r"CSIM was judged by dlib's network .* and by ArcFace tiny"):
        call("table", tmp_path / "ours", tmp_path / "theirs")
    assert "| warp |" in call("table", tmp_path / "ours", tmp_path / "theirs", "--scores", "psnr,nme")


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (("arcface",), "--judge must be dlib, or arcface and one ONNX file, not arcface"),
        (("dlib", "a.onnx"), "not dlib a.onnx"),
        (("facenet", "a.onnx"), "not facenet a.onnx"),
        (("arcface", "gone.onnx"), "gone.onnx does not exist"),
    ],
)
def test_other_judges_are_refused_before_anything_is_drawn(call, pack, tmp_path, judge, said):
    with pytest.raises(ReenactError, match=re.escape(said)):
        call("run", "--data", pack, "--split", "train", "--judge", *judge, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_retargeting(call, tmp_path):
    rng = np.random.default_rng(0)
    points = mean_face().points[:SURFACE]
    lower = np.clip(points[:, 1:2] / 0.8, 0, 1)
    ident = rng.normal(size=(3, 1, 3)) * 0.02 * np.abs(points)[None]
    np.savez(
        tmp_path / "ict.npz",
        neutral=points,
        ident=ident,
        expr=(lower * [0, 0.15, 0])[None],
        names=np.array(["jawOpen"]),
    )
    said = call("retargeting", "--ict", tmp_path / "ict.npz", "--people", 4, "--json", tmp_path / "r.json")
    assert "| relative |" in said
    assert "judged by ICT-FaceKit's exact truth" in said
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["relative"]["shape"]["estimate"] < found["absolute"]["shape"]["estimate"]
    assert found["relative"]["all"]["identities"] == 4


def test_data_without_val(pack, tmp_path, capsys):
    top = argparse.ArgumentParser()
    evaluate.add_parser(top.add_subparsers())
    command = ["evaluate", "export", "--inputs", "--data", pack, "--cases", 2, "--out", tmp_path, "--workers", 0]
    for given, said in (([], f"{pack} has no split val; its split train is used"), (["--split", "train"], "")):
        args = top.parse_args([str(word) for word in [*command, *given]])
        assert args.run(args) == 0
        errors = [line for line in capsys.readouterr().err.splitlines() if "split" in line]
        assert errors == ([f"{said} (choose with --split)"] if said else [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--models", "nothing"), "no model 'nothing'"),
        (("--protocol", "selfie"), "no protocol 'selfie'"),
        (("--k", "one"), "whole numbers with commas"),
        (("--k", "0"), "at least one target"),
        (("--workers", "-1"), "0 or more"),
        (("--split", "val"), "no clips in its split val"),
    ],
)
def test_bad_input_in_one_sentence(call, pack, tmp_path, arguments, said):
    with pytest.raises(ReenactError, match=said):
        call("run", "--data", pack, "--split", "train", "--cases", 2, *arguments, "--out", tmp_path)


def write_weights(folder, name, **settings):
    """Untrained."""
    import torch

    from reenactor.models import METHODS
    from reenactor.nn.checkpoint import Checkpoint, write_checkpoint

    torch.manual_seed(0)
    config = METHODS[name].model.config_type(resolution=64, base_width=16, **settings)
    write_checkpoint(folder, Checkpoint(name, config.model_dump(mode="json"), METHODS[name].model(config).state_dict()))


def test_not_all_have_attention(call, pack, tmp_path):
    data = ("--data", pack, "--split", "train", "--cases", 1, "--size", 128)
    more = ("--attention", 1, "--out", tmp_path / "out")
    write_weights(tmp_path / "weights", "hybrid")
    for model in (("--model", "warp"), ("--model", "hybrid", "--weights", tmp_path / "weights")):
        with pytest.raises(ReenactError, match="has no attention"):
            call("export", *data, *more, *model)
    assert not (tmp_path / "out").exists()


def test_marionette_draws_its_attention(call, pack, tmp_path):
    write_weights(tmp_path / "weights", "marionette", max_width=16)
    data = ("--data", pack, "--split", "train", "--cases", 2, "--size", 128)
    model = ("--model", "marionette", "--weights", tmp_path / "weights", "--attention", 2)
    call("export", *data, *model, "--k", 2, "--out", tmp_path / "out")
    assert read_image(tmp_path / "out" / "attention.png").shape == (20 + 2 * 180, 6 * 160, 3)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())["method"]
    assert manifest["version"] == f"1-{manifest['weights_sha256'][:12]}"
