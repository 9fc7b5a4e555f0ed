"""docs/reproduce.md, followed line by line with the settings of its trial, on tiny data in the exact layouts."""

import glob
import re
import shlex
from pathlib import Path

import pytest
from test_paper_data_sets import MAKERS, moving  # noqa: F401

from reenactor.cli.main import main
from reenactor.research.evaluation.study import AnswerBook, read_study, session
from reenactor.research.evaluation.study.plan import RIGHT

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[3] / "docs" / "reproduce.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


def settings():
    """Variables by name: the later of two settings, the trial's, counts."""
    words = [word for line in LINES if line.startswith("export ") for word in shlex.split(line)[1:]]
    return dict(word.split("=", 1) for word in words)


def as_bash_does(line):
    """Words of a command: quotes removed, variables split at spaces, names of files completed."""
    values = settings()
    for word in shlex.split(line):
        for one in values[word[1:]].split() if word.startswith("$") else [word]:
            yield from sorted(glob.glob(one)) if "*" in one else [one]


def answer(study, db):
    """What `study serve` stores: one participant, who passes the checks and always takes the first picture."""
    study, _ = read_study(study)
    book = AnswerBook(db, study)
    number = book.number(book.join())
    for index, step in enumerate(session(study, number)):
        chosen = step.names.index(RIGHT) if step.trial.check else 0
        book.put(number, index, step, chosen, late=False, took_ms=900)


def test_every_variable_has_both_settings():
    exports = [line for line in LINES if line.startswith("export ")]
    names = [word.split("=", 1)[0] for line in exports for word in shlex.split(line)[1:]]
    used = set(re.findall(r"\$([A-Z]+)", "\n".join(line for line in LINES if line not in exports)))
    assert {name: names.count(name) for name in used} == dict.fromkeys(used, 2)
    assert set(names) == used


def test_followed_line_by_line_it_ends_in_the_tables(moving, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    for name in ("voxceleb1", "celebv", "celeba", "celeba-hq", "ffhq", "raf-db", "wflw"):
        MAKERS[name](tmp_path / "raw" / name, moving)
    for line in LINES:
        if line.startswith("reenactor study serve"):
            answer(*(tmp_path / word for word in shlex.split(line)[3::2]))
        elif line.startswith("reenactor "):
            assert main(list(as_bash_does(line))[1:]) == 0, (line, capsys.readouterr().err)
        else:
            assert line.startswith(("export ", "pip install "))
    said = capsys.readouterr().out
    tables = {path.stem: path.read_text() for path in (tmp_path / "results").rglob("*-table-*.md")}
    assert set(tables) == {f"paper-a-table-{n}" for n in (1, 2, 3)} | {f"paper-b-table-{n}" for n in range(1, 8)}
    assert "no weights" not in "".join(tables.values())
    assert all(text in said for text in tables.values())
    figures = {path.stem for path in (tmp_path / "results" / "figures").glob("*-figure-*.png")}
    assert figures == {"paper-a-figure-5"} | {f"paper-b-figure-{n}" for n in (6, *range(9, 18))}
    # Every row that is ours has our numbers in every column.
    for name, rows in (
        ("paper-b-table-1", ["MarioNETte (1)", "MarioNETte (8)"]),
        ("paper-b-table-2", ["MarioNETte (1)", "MarioNETte+LT (8)"]),
        ("paper-b-table-4", ["AdaIN (1)", "+Attention (8)", "+Alignment (8)", "MarioNETte (1)"]),
        ("paper-b-table-5", ["AdaIN (8)", "+Attention (1)", "+Alignment (1)", "MarioNETte (8)"]),
        ("paper-a-table-1", ["ours (1)", "ours without fusion (1)"]),
    ):
        for row in rows:
            (line,) = (line for line in tables[name].splitlines() if line.startswith(f"| {row} |"))
            assert "" not in [cell.strip() for cell in line.strip("| ").split("|")], line
    for name in ("paper-a-table-2", "paper-a-table-3"):
        (line,) = (line for line in tables[name].splitlines() if line.startswith("| here |"))
        assert line.count("[") == {"paper-a-table-2": 5, "paper-a-table-3": 3}[name]
    assert re.search(r"^\| MarioNETte \(8\) \|  \|  \| 0.52 \| [01]\.\d{3} \[", tables["paper-b-table-3"], re.MULTILINE)
