"""For all tests: annotations are checked at run time, the user's own files are not touched; a small pack."""

import os
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from jaxtyping import config, install_import_hook

# Nothing is kept in, or read from, the cache of the person who runs the tests.
os.environ["REENACTOR_NO_CACHE"] = "1"

# `core` imports PyTorch for type checkers only, so its annotations cannot be looked up; `cli` annotates no shapes.
# Integers pass as floats.
install_import_hook(
    [f"reenactor.{room}" for room in ("engine", "face", "media", "models", "nn", "research", "server")],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """Signing keys are made in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REENACTOR_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def unchecked():
    """Annotations are not checked, so that the code itself meets wrong arguments."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """Folder of a real, small pack: six photos and two clips, made from the astronaut."""
    from factories import head
    from reenactor import Reenactor
    from reenactor.engine.shipped import shipped_motions
    from reenactor.media import VideoWriter, write_image
    from reenactor.research.data.packing import Plan
    from reenactor.research.data.prepare import prepare

    source = tmp_path_factory.mktemp("source")
    photo = head()
    for i in range(6):
        (source / "train" / f"person{i}").mkdir(parents=True)
        shade = np.clip(photo * (0.7 + 0.1 * i), 0, 255).astype(np.uint8)
        write_image(source / "train" / f"person{i}" / "a.png", shade[:, ::-1] if i % 2 else shade)
    reenactor = Reenactor("warp", size=256, transfer="relative")
    reenactor.set_target([photo])
    for name in ("talk", "smile"):
        (source / "train" / name).mkdir()
        path = source / "train" / name / "clip.mp4"
        with VideoWriter(path, size=(256, 256), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
            for i, frame in enumerate(islice(reenactor.drive(shipped_motions()[name]), 40)):
                writer.write(frame.image, i)
    out = tmp_path_factory.mktemp("pack") / "pack"
    prepare(Plan(source=source, out=out, dataset="folder", workers=1))
    return out
