"""The picture that the room's tests move about."""

import pytest

from factories import head


@pytest.fixture(scope="session")
def face():
    """(256, 256, 3): the head of the astronaut."""
    return head()
