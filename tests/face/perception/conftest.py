"""A real face (the astronaut of scikit-image) and the networks, loaded once."""

import numpy as np
import pytest
from skimage.data import astronaut

from reenactor.face.perception import FaceFinder


@pytest.fixture(scope="session")
def photo():
    """(512, 512, 3): one face, 105 pixels wide, about (222, 130)."""
    return astronaut()


@pytest.fixture(scope="session")
def head(photo):
    """(256, 256, 3): the same face, cut out."""
    return np.ascontiguousarray(photo[:256, 96:352])


@pytest.fixture(scope="session")
def finder():
    with FaceFinder() as one:
        yield one
