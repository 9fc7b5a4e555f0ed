"""The examples of docs/api.md are run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reenactor.media import read_provenance

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path, photo, motion, monkeypatch):
    (tmp_path / "face.png").write_bytes(photo.read_bytes())
    (tmp_path / "driver.motion").write_bytes(motion.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shell_examples(served, place):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "URL": served.url, "KEY": served.key, "PATH": path}
    script = "set -e -o pipefail\n" + "\n".join(blocks("sh"))
    ran = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert read_provenance(place / "result.mp4").valid
    assert '"cancelled"' in ran.stdout
    key = ran.stdout.splitlines()[-1]
    text = (place / "keys.txt").read_text()
    assert text.startswith("alice ")
    assert key not in text


def test_python_example(served, place, jpeg):
    scope = {"url": served.url, "key": served.key, "jpeg": jpeg}
    (example,) = blocks("python")
    exec(example, scope)
    assert (place / "result.mp4").stat().st_size > 0
    assert scope["picture"].startswith(b"\xff\xd8")


def test_page_names_every_option():
    told = subprocess.run(
        [sys.executable, "-m", "reenactor", "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    shown = set(re.findall(r"--[a-z][a-z0-9-]+", told))
    named = set(re.findall(r"--[a-z][a-z0-9-]+", PAGE.read_text()))
    elsewhere = {
        "--help",
        "--sha256",
        "--port",
        "--cors",
        "--sign-cert",
        "--sign-key",
        "--no-provenance",
    }
    assert shown - named <= elsewhere
    assert named <= shown
