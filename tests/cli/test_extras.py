"""A command whose extra is not installed says which one, in one sentence."""

import subprocess
import sys

import pytest

HIDDEN = """
import sys
sys.modules[{package!r}] = None
from reenactor.cli.main import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("lightning", "research", ["train", "marionette-lite", "--data", "pack", "--out", "run"]),
        ("fastapi", "server", ["serve"]),
        ("gradio", "server", ["web"]),
        pytest.param(
            "onnxruntime",
            "fast",
            ["animate", "--target", "a", "--driver", "smile", "-o", "c.mp4", "--runtime", "onnxruntime"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "openvino",
            "export",
            ["export", "hybrid", "--out", "out", "--format", "openvino"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_missing_extra_is_named(tmp_path, package, extra, arguments):
    code = HIDDEN.format(package=package, arguments=arguments)
    (tmp_path / "a").touch()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"reenactor[{extra}]" in done.stderr
