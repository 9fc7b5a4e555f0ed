"""A photo, a driver rendered from it, and a command line that is called without a new process."""

import argparse
from fractions import Fraction

import pytest

from factories import FRAMES, head, write_clip
from reenactor import Reenactor
from reenactor.cli import evaluate
from reenactor.cli.main import main
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_image, write_motion
from reenactor.research.evaluation import figures, scoring


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """256 x 256 pixels, one face."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    write_image(path, head())
    return path


@pytest.fixture(scope="session")
def motion(tmp_path_factory):
    """The first second of a shipped motion: 30 frames."""
    path = tmp_path_factory.mktemp("motion") / "blink.motion"
    write_motion(path, read_motion(shipped_motions()["blink"]).between(0, 1))
    return path


@pytest.fixture(scope="session")
def drawn(photo):
    """FRAMES pictures of a talking head."""
    reenactor = Reenactor("warp")
    reenactor.set_target([photo])
    return [frame.image for frame, _ in zip(reenactor.drive(shipped_motions()["talk"]), range(FRAMES), strict=False)]


@pytest.fixture(scope="session")
def clip(tmp_path_factory, drawn):
    """A driver of 29.97 frames a second with sound."""
    path = tmp_path_factory.mktemp("clip") / "driver.mp4"
    write_clip(path, drawn, [i * 1001 for i in range(len(drawn))], Fraction(1, 30000), sound=True)
    return path


@pytest.fixture
def reenactor(capfd):
    """Call the command line: (exit code, stdout, stderr), native libraries' output included."""

    def call(*arguments):
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def quick_intervals(monkeypatch):
    """Few resamples for the intervals of `evaluate`."""
    monkeypatch.setattr(scoring, "RESAMPLES", 20)
    monkeypatch.setattr(figures, "RESAMPLES", 10)


@pytest.fixture
def call(capsys):
    """Run `evaluate`: what it prints."""

    def run(*arguments):
        top = argparse.ArgumentParser()
        evaluate.add_parser(top.add_subparsers())
        args = top.parse_args(["evaluate", *map(str, arguments)])
        capsys.readouterr()
        assert args.run(args) == 0
        return capsys.readouterr().out

    return run
