"""The papers' tables: numbers of the papers' text, what stands for their rows, and what is printed beside them."""

import pytest
from test_tables import result

from bench_times import PARTS, fixed
from reenactor.core import Head, Transfer
from reenactor.engine.bench import Bench, Network
from reenactor.research.evaluation import Protocol, TableFormat, write_tables
from reenactor.research.evaluation.cache import TARGET_COPY
from reenactor.research.evaluation.paper_tables import latency_table, speed_table, study_table
from reenactor.research.evaluation.papers import EXPERIMENTS, FIGURES, REFERENCE, STAND_INS, STUDY
from reenactor.research.evaluation.study import Kind, valid_answers
from reenactor.research.evaluation.study.answers import Answer
from reenactor.research.evaluation.study.plan import REAL
from reenactor.research.evaluation.tables import paper_table
from reenactor.research.recipes import recipe

NOT_OURS = {"X2Face", "Monkey-Net", "NeuralHead-FF", "GANimation", "GANimation, given AU labels", "VU-Net", "PG2"} | {
    "GauGAN",
    REFERENCE,
}


def numbers(paper, table, protocol):
    found = EXPERIMENTS[paper][table].sources[protocol]
    return found.scores, {row.label: tuple(row.values.values()) for row in found.rows}


def test_columns_and_rows_are_in_the_papers_order():
    assert numbers("paper-b", 1, Protocol.SELF)[0] == ("csim", "ssim", "m_ssim", "psnr", "m_psnr", "prmse", "aucon")
    ablation = [f"{name} ({k})" for k in (1, 8) for name in ("AdaIN", "+Attention", "+Alignment", "MarioNETte")]
    for table, protocol in ((4, Protocol.DIFFERENT), (5, Protocol.SELF)):
        columns, rows = numbers("paper-b", table, protocol)
        assert columns == ("csim", "prmse", "aucon")
        assert list(rows) == ablation
    assert numbers("paper-a", 1, Protocol.WILD)[0] == ("au_percent", "pose_mae", "id_percent")
    assert list(EXPERIMENTS["paper-a"][1].sources) == [Protocol.SAME_SOURCE, Protocol.CROSS_SOURCE, Protocol.WILD]


def test_numbers_of_the_papers():
    """Copied by hand from the papers' text."""
    assert numbers("paper-b", 4, Protocol.DIFFERENT)[1]["MarioNETte (8)"] == (0.608, 3.26, 0.717)
    assert numbers("paper-b", 5, Protocol.SELF)[1]["MarioNETte (1)"] == (0.755, 3.125, 0.825)
    assert numbers("paper-b", 1, Protocol.SELF)[1]["MarioNETte (1)"][-2] == 3.13
    assert [v for (v,) in numbers("paper-a", 2, Protocol.SAME_SOURCE)[1].values()] == [77.7, 84.9, 86.9, 89.1, 85.2]
    assert numbers("paper-a", 3, Protocol.SAME_SOURCE)[1] == {
        "ours (1)": (97.2,),
        "ours (3)": (99.3,),
        "ours (5)": (99.4,),
    }
    study = {row.label: row.values for row in STUDY}
    assert study["NeuralHead-FF (8)"] == {"MarioNETte": 0.15, "MarioNETte+LT": 0.16, "realism": 0.08}
    assert study["MarioNETte+LT (8)"] == {"realism": 0.28}


def test_every_method_is_ours_or_not_in_the_zoo():
    shown = {row.method for tables in EXPERIMENTS.values() for one in tables.values() for row in one.rows}
    drawn = {method for figures in FIGURES.values() for one in figures.values() for method in one.methods}
    assert shown | drawn == set(STAND_INS) | NOT_OURS


@pytest.mark.parametrize("label", STAND_INS)
def test_recipes_train_what_stands_for_a_row(label):
    one = STAND_INS[label]
    objective = recipe(one.run).objective
    if one.run == "oneshot-fusion":
        assert (objective.kind, one.config) == ("oneshot-fusion", {"fusion": "learned", "concatenate": True})
        return
    config = objective.model.model_dump()
    assert {name: config[name] for name in one.config} == one.config
    assert objective.kind == one.model
    if one.model == "oneshot":
        assert objective.reconstruction == float(label.partition("= ")[2] or 25)


def test_the_papers_landmarks():
    """Without a landmark transformer the driver's own; with it, in the driver's rotation (paper B, equation 7)."""
    transformed = {label for label, one in STAND_INS.items() if one.transfer is not Transfer.ABSOLUTE}
    assert transformed == {"MarioNETte+LT"}
    assert STAND_INS["MarioNETte+LT"].head is Head.ABSOLUTE


def test_ours_stand_beside_the_papers():
    ours = {"config": {"resolution": 128}, "transfer": "absolute", "protocol": "different"}
    results = [
        result("csim", "marionette", 0.7, 0.6, 0.8, **ours),
        result("aucon", "marionette", 0.9, 0.8, 1, k=8, chance=0.7, **ours),
        result("csim", TARGET_COPY, 1.0, 1.0, 1.0, protocol="different", version=None),
        result("sharpness_ratio", "marionette", 0.5, 0.4, 0.6, **ours),
    ]
    names = {"MarioNETte": "marionette", "AdaIN": "no weights"}
    table = paper_table(EXPERIMENTS["paper-b"][4], results, names, {Protocol.DIFFERENT: "a pack, split val"})
    lines = write_tables([table], TableFormat.MARKDOWN).splitlines()
    assert lines[2] == (
        "| method (target pictures) | drawn by | CSIM ↑, paper | here | PRMSE [degrees] ↓, paper | here "
        "| AUCON ↑, paper | here |"
    )
    rows = [line for line in lines if line.startswith("| MarioNETte")]
    assert rows[0] == (
        "| MarioNETte (1) | marionette 1, 128 px, absolute landmarks | 0.52 | 0.7 [0.6, 0.8] | 3.41 |  | 0.71 |  |"
    )
    assert rows[1].endswith("| 0.608 |  | 3.26 |  | 0.717 | 0.9 [0.8, 1] |")
    assert "| AdaIN (1) | no weights | 0.063 |  | 3.47 |  | 0.724 |  |" in lines
    assert f"| {TARGET_COPY} (1) |  |  | 1 [1, 1] |  |  |  |  |" in lines
    text = "\n".join(lines)
    assert "CelebV in the paper, by ArcFace and OpenFace; here a pack, split val." in text
    assert "Judged by dlib's network" in text
    assert "by chance (frames shuffled within clips): marionette 0.7" in text
    assert "the pixels" not in text, "its scores are not in this table"


def test_three_sources_side_by_side_and_one_score_across():
    found = [
        result("id_percent", TARGET_COPY, 99.0, 98, 100, protocol=p, version=None) for p in ("same-source", "wild")
    ]
    text = write_tables([paper_table(EXPERIMENTS["paper-a"][1], found, {}, {})], TableFormat.MARKDOWN)
    cells = next(line for line in text.splitlines() if line.startswith(f"| {REFERENCE}")).split(" | ")
    assert len(cells) == 2 + 2 * 9
    assert [i for i, cell in enumerate(cells) if "99 [98, 100]" in cell] == [7, 19]
    assert "cross-source: FFHQ in the paper" in text
    assert "| GauGAN (1) | not in the zoo | 81.1 |" in text
    few = [result("id_percent", "oneshot-fusion", 90.0 + k, 90, 99, protocol="same-source", k=k) for k in (1, 3, 5)]
    text = write_tables(
        [paper_table(EXPERIMENTS["paper-a"][3], few, {"ours": "oneshot-fusion"}, {})], TableFormat.MARKDOWN
    )
    assert "| Id [%] ↑ | ours (1) | ours (3) | ours (5) |" in text
    assert "| paper | 97.2 | 99.3 | 99.4 |" in text
    assert "| here | 91 [90, 99] | 93 [90, 99] | 95 [90, 99] |" in text


def test_the_user_study():
    def pair(winner, loser, who):
        return Answer(who, "t", Kind.PAIR, "identity", (winner, loser), 0, False, False)

    won = [pair("plain", "lt", 0)] * 3 + [pair("lt", "plain", 0)]
    fooled = [Answer(0, "t", Kind.ODD, "odd", ("lt", REAL, REAL), chosen, False, False) for chosen in (0, 1)]
    names = {"MarioNETte": "plain", "MarioNETte+LT": "lt"}
    text = write_tables([study_table({8: valid_answers(won + fooled)}, names)], TableFormat.MARKDOWN)
    lines = text.splitlines()
    assert any(line.startswith("| MarioNETte (8) |  |  | 0.52 | 0.750 [") for line in lines)
    assert any(line.startswith("| MarioNETte+LT (8) |  |  |  |  | 0.28 | 0.500 [") for line in lines)
    assert "| MarioNETte (1) |  |  | 0.51 |  | 0.14 |  |" in lines, "no study of one target picture"
    assert "| X2Face (8) | 0.09 |  | 0.07 |  | 0.047 |  |" in lines


def test_latencies_and_their_sums():
    network = Network("small", 128, fixed(10), fixed(20), fixed(6), fixed(7), fixed(0.25), 2, 3, 0.5)
    bench = Bench("a machine", PARTS, [network], {"fp32, 1 thread": 1.0}, [], 1.0)
    text = write_tables([latency_table(bench), speed_table(bench)], TableFormat.MARKDOWN)
    assert "| 3D landmark detector | T_P | 101 | 5, 3 |" in text
    assert "| target encoder | T_E,1 and T_E,8 | 44, 111 | 10, 20 |" in text
    assert "| generator | T_G,1 and T_G,8 | 35, 36 | 6.25, 7.25 |" in text
    # Paper: 101 + 22 + 44, 101 + 26 + 35; 808 + 19 + 111, 101 + 26 + 36. Here: 5 + 1 + 10, 3 + .5 + 6.25; 40 + 2 + 20.
    assert "| MarioNETte+LT (1) | 167 | 16 | 162 | 9.75 |" in text
    assert "| MarioNETte+LT (8) | 938 | 62 | 163 | 10.8 |" in text
    assert "| MarioNETte (1) | 145 | 15 | 136 | 9.25 |" in text
