"""The examples of docs/python.md are run as they stand there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reenactor
from factories import head
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_motion

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
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


def test_there_are_ten_examples():
    assert [int(title.split(".")[0]) for title, _ in EXAMPLES] == list(range(1, 11))
    assert PAGE.count("```python") == 10


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example(title, code, folder, capsys):
    exec(compile(code, title, "exec"), {"__name__": "example"})
    if title.startswith("10."):
        assert capsys.readouterr().out.startswith("no face:")


def test_the_table_names_the_public_api():
    named = set(re.findall(r"`(\w+)`", "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))))
    assert named == set(reenactor.__all__) - {"__version__"}
