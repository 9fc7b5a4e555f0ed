"""`reenactor evaluate paper-a` and `paper-b` on the small pack."""

import pytest
from test_evaluate import write_weights

from reenactor.core import ReenactError
from reenactor.media import read_image

pytestmark = pytest.mark.usefixtures("quick_intervals")


def rows(said):
    return {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in said.splitlines() if " | " in line
    }


FEW = ("--cases", 2, "--size", 64, "--workers", 0, "--device", "cpu")


def test_an_ablation_by_its_runs(call, pack, tmp_path):
    write_weights(tmp_path / "runs/marionette/model", "marionette", max_width=16)
    write_weights(tmp_path / "adain", "marionette", max_width=16, blender="adain", alignment=False)
    ours = ("--data", pack, "--runs", tmp_path / "runs", "--models", f"marionette-adain={tmp_path / 'adain'}")
    said = call("paper-b", "table", 4, *ours, *FEW, "--no-figures", "--out", tmp_path / "out")
    found = rows(said)
    assert found["MarioNETte (8)"][0].startswith("marionette 1-")
    assert found["AdaIN (1)"][0].startswith("marionette-adain 1-")
    assert found["AdaIN (1)"][1] == "0.063"
    assert found["AdaIN (1)"][2]
    assert found["+Attention (1)"][:3] == ["no weights: reenactor train marionette-attention", "0.333", ""]
    assert "here folder, split train." in said
    assert (tmp_path / "out" / "paper-b-table-4.md").read_text() == said
    said = call("paper-b", "figure", 9, *ours, *FEW, "--out", tmp_path / "out")
    assert "+Alignment: no weights" in said
    assert read_image(tmp_path / "out" / "paper-b-figure-9.png").shape == (20 + 2 * 180, 4 * 160, 3)
    wrong = f"marionette-attention={tmp_path / 'adain'}"
    with pytest.raises(ReenactError, match="marionette-attention have blender=adain; give those of the recipe"):
        call("paper-b", "table", 4, "--data", pack, "--models", wrong, *FEW, "--out", tmp_path / "wrong")


def test_sources_of_targets_side_by_side(call, pack, tmp_path):
    said = call("paper-a", "table", 1, "--data", pack, "--wild", pack, *FEW, "--no-figures", "--out", tmp_path)
    ours = rows(said)["ours (1)"]
    assert ours[0].startswith("oneshot-fusion 1-")
    assert [bool(cell) for cell in ours[2::2]] == [True] * 3 + [False] * 3 + [True] * 3
    assert "cross-source: FFHQ in the paper" in said
    assert "here not measured" in said
    assert "folder, split train, driven by folder, split train" in said


def test_components_timed(call, tmp_path):
    write_weights(tmp_path / "tiny", "marionette", max_width=16)
    for number, row in ((6, "target encoder"), (7, "MarioNETte+LT (8)")):
        models = ("--models", f"marionette={tmp_path / 'tiny'}")
        said = call("paper-b", "table", number, *models, "--rounds", 2, "--device", "cpu", "--out", tmp_path)
        assert float(rows(said)[row][-1].rstrip(" |").split(", ")[0]) > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("paper-b", "table", 1), "measured on prepared data; give --data PACK"),
        (("paper-b", "table", 3), "give --answers 1=FILE 8=FILE"),
        (("paper-b", "table", 3, "--answers", "2=x.sqlite"), "give --answers 1=FILE 8=FILE"),
        (("paper-b", "table", 3, "--answers", "1=gone.sqlite"), "gone.sqlite is missing"),
        (("paper-b", "table", 6, "--rounds", 0), "--rounds must be at least 1"),
        (("paper-b", "table", 6, "--runs", "gone"), "gone is no folder of runs"),
        (
            ("paper-b", "table", 6, "--models", "oneshot=x"),
            "no weights of a row in 'oneshot'; give RECIPE=DIR, of marion",
        ),
    ],
)
def test_bad_input_in_one_sentence(call, tmp_path, arguments, said):
    with pytest.raises(ReenactError, match=said):
        call(*arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
