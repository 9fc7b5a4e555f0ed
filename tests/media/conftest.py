"""The picture that the room's tests move about."""

import numpy as np
import pytest
from skimage.data import astronaut


@pytest.fixture(scope="session")
def face():
    """(256, 256, 3): the head of the astronaut."""
    return np.ascontiguousarray(astronaut()[:256, 100:356])
