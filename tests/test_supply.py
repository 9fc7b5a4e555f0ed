"""What is installed with this package: no release with a known hole is allowed, and the container's lock fits."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
SERVICE = [Requirement(one) for one in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["server"])]
EVERYTHING = SERVICE + [Requirement(one) for more in PROJECT["optional-dependencies"].values() for one in more]

# The last release with the hole.
BAD = {
    "cryptography": "46.0.4",  # CVE-2026-26007
    "h11": "0.14.0",  # CVE-2025-43859
    "jinja2": "3.1.5",  # CVE-2025-27516
    "opencv-contrib-python": "4.8.0.76",  # CVE-2023-4863, in libwebp
    "pillow": "12.1.0",  # CVE-2026-25990; 10.2.0 CVE-2024-28219
    "protobuf": "4.25.7",  # CVE-2025-4565
    "pyarrow": "14.0.0",  # CVE-2023-47248
    "pydantic": "2.3.0",  # CVE-2024-3772
    "python-multipart": "0.0.21",  # CVE-2026-24486
    "ray": "2.51.1",  # CVE-2025-62593
    "starlette": "0.49.0",  # CVE-2025-62727
    "torch": "2.5.1",  # CVE-2025-32434
    "tqdm": "4.66.2",  # CVE-2024-34062
}


@pytest.mark.parametrize("name", BAD)
def test_known_holes_are_left_out(name):
    found = [one for one in EVERYTHING if canonicalize_name(one.name) == name]
    assert found
    assert not any(one.specifier.contains(BAD[name], prereleases=True) for one in found)


def test_the_lock_fits():
    """All that the service asks for, in versions that it allows; each by hashes; PyTorch has those of another index."""
    entries = re.split(r"\n(?=[a-z0-9])", LOCK)
    locked = dict(re.match(r"([a-z0-9._-]+)==([^ ;]+)", one).groups() for one in entries)
    assert all("--hash=sha256:" in one for one in entries)
    assert "torch" not in locked
    for one in SERVICE:
        if one.name != "torch":
            assert one.specifier.contains(locked[canonicalize_name(one.name)]), str(one)


def test_the_container_installs_the_lock_alone():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    installs = [line for line in text.replace("\\\n", "").splitlines() if "pip install" in line]
    commands = [part for line in installs for part in line.split("&&") if "pip install" in part]
    pytorch, locked, own = commands
    assert " torch " in pytorch
    assert re.search(r"--require-hashes .*-r \S*requirements\.lock", locked)
    assert re.search(r"--no-deps .*/build", own)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert "!requirements.lock" in ignored
