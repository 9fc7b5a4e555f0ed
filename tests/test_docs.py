"""The examples of docs/python.md are run as they stand there; commands, links and paths of all pages exist."""

import argparse
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reenactor
from factories import head
from reenactor.cli.main import parser
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_motion

ROOT = Path(__file__).parent.parent
PARSER = parser()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.md")])
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples take for granted: photos, a driver as a video and as a motion file."""
    path = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        face = head()
        Image.fromarray(face).save("me.jpg", quality=95)
        Image.fromarray(face[:, ::-1]).save("me-smiling.jpg", quality=95)
        Image.fromarray(np.full((128, 128, 3), 90, np.uint8)).save("landscape.jpg")
        write_motion("talk.motion", read_motion(shipped_motions()["talk"]).between(0, 0.2))
        reenactor.animate(["me.jpg"], "talk.motion", "talk.mp4", reenactor.Options(model="warp"))
        shutil.copy("talk.mp4", "out.mp4")  # what example 1 makes; examples may run in different processes
        yield path


def test_there_are_twelve_examples():
    assert [int(title.split(".")[0]) for title, _ in EXAMPLES] == list(range(1, 13))
    assert PAGE.count("```python") == 12


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example(title, code, folder, capsys):
    exec(compile(code, title, "exec"), {"__name__": "example"})
    if title.startswith("10."):
        assert capsys.readouterr().out.startswith("no face:")


def test_the_table_names_the_public_api():
    named = set(re.findall(r"`(\w+)`", "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))))
    assert named == set(reenactor.__all__) - {"__version__"}


def commands(text):
    """Every `reenactor ...` in code, continued lines joined."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks if language in ("", "sh") for line in block.splitlines()]
    lines += re.findall(r"^    (reenactor .*)$", text, re.MULTILINE)
    lines += re.findall(r"`(reenactor [^`]*)`", text)
    return [line.strip() for line in lines if line.strip().startswith("reenactor ")]


def unknown_words(command):
    """What of a command line its parser does not know: commands and options."""
    at = PARSER
    for word in shlex.split(command.split("#")[0], posix=True)[1:]:
        below = next((a.choices for a in at._actions if isinstance(a, argparse._SubParsersAction)), None)
        if below is not None and not word.startswith("-"):
            if word not in below:
                if word.isupper() or word == "...":
                    return
                yield word
                return
            at = below[word]
        elif word.startswith("--") and word.split("=")[0] not in at._option_string_actions:
            yield word


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_and_links_exist(page):
    text = page.read_text(encoding="utf-8")
    wrong = {command: list(unknown_words(command)) for command in commands(text)}
    assert {command: words for command, words in wrong.items() if words} == {}
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    tools = re.findall(r"\btools/\w+\.\w+", text)
    assert [tool for tool in tools if not (ROOT / tool).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_modules_exist(page):
    """Files of the package that a page names by their path in it."""
    rooms = "|".join(path.parent.name for path in (ROOT / "src" / "reenactor").glob("*/__init__.py"))
    named = re.findall(rf"`(?:src/reenactor/)?((?:{rooms})/[\w/]+(?:\.\w+|/))`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / "src" / "reenactor" / name).exists()] == []
