"""The positional encoding against paper B's formula."""

import math

import pytest
import torch

from reenactor.nn import positional_encoding


def by_hand(channels, height, width):
    """Equation 9, entry by entry."""
    code = torch.zeros(channels, height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            for k in range(channels // 4):
                y = 256 * i / (height * 10000 ** (2 * k / channels))
                x = 256 * j / (width * 10000 ** (2 * k / channels))
                for offset, value in enumerate((math.sin(y), math.cos(y), math.sin(x), math.cos(x))):
                    code[4 * k + offset, i, j] = value
    return code


@pytest.mark.parametrize(("channels", "height", "width"), [(4, 1, 1), (8, 3, 5), (64, 16, 16), (20, 8, 4)])
def test_is_the_papers_formula(channels, height, width):
    # Angles reach 256; float32 holds those to 1.5e-5.
    expected = by_hand(channels, height, width)
    torch.testing.assert_close(positional_encoding(channels, height, width).double(), expected, atol=5e-5, rtol=0)


def test_first_entries():
    code = positional_encoding(4, 2, 4)
    # Row 1 of 2 is 128, column 3 of 4 is 192.
    expected = torch.tensor([math.sin(128), math.cos(128), math.sin(192), math.cos(192)])
    torch.testing.assert_close(code[:, 1, 3], expected, atol=1e-5, rtol=0)


def test_the_same_place_has_the_same_code_in_maps_of_different_sizes():
    fine, coarse = positional_encoding(32, 16, 16), positional_encoding(32, 8, 8)
    torch.testing.assert_close(fine[:, ::2, ::2], coarse, atol=1e-5, rtol=0)


def test_every_place_differs():
    places = positional_encoding(64, 16, 16).flatten(1).T
    apart = torch.cdist(places, places) + 1e3 * torch.eye(256)
    assert apart.min() > 0.1


def test_odd_channels_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        positional_encoding(6, 4, 4)
