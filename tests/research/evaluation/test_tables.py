"""Tables: the papers' numbers under their words, arrows, intervals, and three ways to write them."""

import pytest

from reenactor.core import ReenactError
from reenactor.research.evaluation import (
    SCORES,
    Protocol,
    Result,
    TableFormat,
    ablation_tables,
    result_tables,
    write_tables,
)
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.tables import PAPERS


def result(score, method, value, low, high, against=None, protocol="self", k=1, **more):
    about = {
        "people": 12,
        "cases": 50,
        "failures": 2,
        "better": SCORES[score].better.value,
        "unit": SCORES[score].unit,
        "chance": None,
        "ceiling": None,
        "version": "1",
        "weights_sha256": None,
        "transfer": None,
        "config": {},
        "data_sha256": "d" * 64,
        "targets_sha256": "d" * 64,
        "cases_sha256": "s" * 64,
        "judge": SCORES[score].judge.value,
    }
    name = f"{score}_k{k}_{protocol}"
    return Result(name, score, protocol, k, method, against, value, low, high, **{**about, **more})


@pytest.fixture
def results():
    return [
        result("csim", DRIVER_COPY, 1.0, 1.0, 1.0),
        result("csim", "a_method & co", 0.8123, 0.7, 0.9),
        result("csim", TARGET_COPY, 0.5, 0.4, 0.6),
        result("aucon", "a_method & co", 0.8, 0.7, 0.9, chance=0.69, ceiling=0.91),
        result("csim", "a_method & co", 0.3, 0.1, 0.4, against=TARGET_COPY),
        result("aucon", "a_method & co", 0.05, -0.1, 0.2, against=TARGET_COPY),
        result("id_percent", "a_method & co", 97.5, 95, 100, protocol="wild", k=3),
        result("gaze_error", "a_method & co", None, None, None, protocol="wild", k=3),
    ]


def test_markdown(results):
    text = write_tables(result_tables(results), TableFormat.MARKDOWN)
    lines = text.splitlines()
    assert "### self, 1 target picture" in lines
    assert "| method | CSIM ↑ | AUCON ↑ | failures |" in lines
    assert "| a_method & co | 0.812 [0.7, 0.9] | 0.8 [0.7, 0.9] | 2 |" in lines
    order = [
        i
        for name in (TARGET_COPY, "a_method", DRIVER_COPY)
        for i, line in enumerate(lines)
        if line.startswith(f"| {name}")
    ]
    assert order[:2] == sorted(order[:2])
    assert "| *paper B, table 1: VoxCeleb1, by ArcFace and OpenFace (other data, not comparable)* |  |  |  |" in lines
    assert "| MarioNETte (1) | 0.755 | 0.825 |  |" in lines
    assert not any("(8)" in line for line in lines), "rows of another K"
    assert rf"| a_method & co - {TARGET_COPY} | 0.3 [0.1, 0.4] \* | 0.05 [-0.1, 0.2] |" in lines
    assert any("by chance" in line and "0.69" in line and "0.91" in line for line in lines)
    assert "| ours (3) |  | 99.3 |  |" in lines or "| ours (3) | 99.3 |  |  |" in lines


def test_every_table_names_its_judges(results):
    written = write_tables(result_tables(results), TableFormat.MARKDOWN)
    dlib = "dlib's network (its mean subtracted; one person below 0.6)"
    own = "reenactor's own estimators"
    notes = [line.strip() for line in written.splitlines() if line.startswith("Judged by ")]
    first = [f"Judged by {dlib}: CSIM.", f"Judged by {own}: AUCON."]
    assert notes == [*first, *first, f"Judged by {dlib}: Id.", "Judged by MediaPipe's face mesh: gaze."]
    text = write_tables(ablation_tables(results[:4], "a_method & co", []), TableFormat.MARKDOWN)
    assert all(note in text for note in first)
    assert write_tables(result_tables(results), TableFormat.LATEX).count("Judged by dlib's network") == 3
    assert write_tables(result_tables(results), TableFormat.HTML).count("<p>Judged by dlib") == 3


@pytest.mark.parametrize("other", [{"judge": "ArcFace x"}, {"judge_sha256": "f" * 64}])
def test_numbers_of_different_judges_are_not_compared(results, other):
    theirs = result("csim", "another", 0.7, 0.6, 0.8, **other)
    with pytest.raises(
        ReenactError, match=r"CSIM was judged by dlib's network .* and by .* cannot be compared; score all"
    ):
        result_tables([*results, theirs])
    kept = result("csim", "another", 0.7, 0.6, 0.8, protocol="different", **other)
    assert len(result_tables([*results, kept])) == 4, "another protocol has its own table"


def test_latex_escapes(results):
    text = write_tables(result_tables(results), TableFormat.LATEX)
    assert r"a\_method \& co & 0.812 [0.7, 0.9]" in text
    assert r"CSIM $\uparrow$" in text
    assert text.count(r"\begin{tabular}{lrrr}") == 2
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3


def test_html_escapes(results):
    text = write_tables(result_tables(results), TableFormat.HTML)
    assert "<td>a_method &amp; co</td><td>0.812 [0.7, 0.9]</td>" in text
    assert "other data, not comparable" in text


def test_the_papers_numbers():
    """Spot checks against the papers' text."""
    rows = {(p, r.method, r.k): r.values for p, tables in PAPERS.items() for t in tables for r in t.rows}
    assert rows[Protocol.SELF, "X2Face", 8] == {
        "csim": 0.762,
        "ssim": 0.776,
        "m_ssim": 0.956,
        "psnr": 24.326,
        "m_psnr": 33.328,
        "prmse": 3.21,
        "aucon": 0.826,
    }
    assert rows[Protocol.DIFFERENT, "MarioNETte+LT", 8] == {"csim": 0.661, "prmse": 3.57, "aucon": 0.691}
    assert rows[Protocol.CROSS_SOURCE, "GauGAN", 1] == {"au_percent": 79.72, "pose_mae": 2.98, "id_percent": 75.3}
    assert "id_percent" not in rows[Protocol.WILD, "reference shown as output", 1]
    assert all(set(values) <= set(SCORES) for values in rows.values())
    assert {p: sum(len(t.rows) for t in tables) for p, tables in PAPERS.items()} == {
        Protocol.SELF: 15,
        Protocol.DIFFERENT: 17,
        Protocol.SAME_SOURCE: 10,
        Protocol.CROSS_SOURCE: 10,
        Protocol.WILD: 10,
    }


def test_a_difference_is_shown_when_its_interval_excludes_zero():
    assert result("csim", "a", 0.1, 0.05, 0.2, against="b").shown
    assert not result("csim", "a", 0.1, -0.05, 0.2, against="b").shown
    assert result("csim", "a", -0.1, -0.2, -0.01, against="b").shown
    assert not result("csim", "a", None, None, None, against="b").shown
