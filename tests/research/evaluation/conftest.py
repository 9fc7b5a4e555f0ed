"""The small pack as an evaluation sees it, methods that copy, and a person at a time in fewer words."""

import numpy as np
import pytest

from reenactor.media import write_image
from reenactor.research.data import Split
from reenactor.research.evaluation import Packs, Protocol, choose_cases, figures, scoring

COUNTS = {Protocol.SELF: 10, Protocol.DIFFERENT: 10, Protocol.SAME_SOURCE: 10}


@pytest.fixture(scope="session", autouse=True)
def quick_intervals():
    """Their width does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "RESAMPLES", 50)
        patch.setattr(figures, "RESAMPLES", 20)
        yield


@pytest.fixture(scope="session")
def packs(pack):
    return Packs(pack)


@pytest.fixture(scope="session")
def cases_of(packs):
    """Few cases of a protocol."""

    def choose(protocol, **options):
        return choose_cases(packs, protocol, **{"count": COUNTS.get(protocol), "split": Split.TRAIN, **options})

    return choose


@pytest.fixture(scope="session")
def copies(packs):
    """Write the drivers' or the targets' pictures as if a tool had drawn them."""

    def write(folder, cases, side):
        folder.mkdir(parents=True)
        (folder / "cases.json").write_text(cases.to_json())
        frames = {one.id: one.driver if side == "driver" else one.targets[0] for one in cases}
        pictures = packs.driver.pictures(frames.values(), cases.size)
        for name, frame in frames.items():
            write_image(folder / f"{name}.png", np.ascontiguousarray(pictures[frame]))
        return folder

    return write
