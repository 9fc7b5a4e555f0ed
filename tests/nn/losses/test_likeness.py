"""Pixel and perceptual losses against slow loops and sums by hand."""

import pytest
import torch
import torch.nn.functional as F

from reenactor.core import ReenactError
from reenactor.nn.losses import PIX2PIXHD_LAYERS, perceptual_loss, weighted_l1


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


class TwoScales:
    """The picture and its average over 2x2: features whose distances can be summed by hand."""

    def __init__(self):
        self.gain = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def __call__(self, image):
        return self.gain * image, F.avg_pool2d(image, 2)

    def to(self, device):
        return self


# Pixels.


def test_weighted_l1_equals_a_loop():
    ours, theirs, weights = noise(3, 2, 4, 5), noise(3, 2, 4, 5, seed=1), noise(3, 1, 4, 5, seed=2).abs()
    pictures = []
    for b in range(3):
        above = below = 0.0
        for c in range(2):
            for i in range(4):
                for j in range(5):
                    above += float(weights[b, 0, i, j]) * abs(float(ours[b, c, i, j]) - float(theirs[b, c, i, j]))
                    below += float(weights[b, 0, i, j])
        pictures.append(above / below)
    assert weighted_l1(ours, theirs, weights).item() == pytest.approx(sum(pictures) / 3)
    assert weighted_l1(ours, theirs).item() == pytest.approx((ours - theirs).abs().mean().item())


def test_only_proportions_of_weights_count():
    ours, theirs, weights = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1), noise(2, 1, 4, 4, seed=2).abs()
    torch.testing.assert_close(weighted_l1(ours, theirs, 7 * weights), weighted_l1(ours, theirs, weights))
    same = torch.full((2, 1, 4, 4), 3.0, dtype=torch.float64)
    torch.testing.assert_close(weighted_l1(ours, theirs, same), weighted_l1(ours, theirs))


def test_divided_by_the_pixels_weights_add_to_the_distance():
    # One pixel of four is off by 1 and weighs 3, one is off by 0.5 and weighs 1: (3 + 0.5) / 4.
    ours, weights = torch.zeros(1, 3, 2, 2), torch.ones(1, 1, 2, 2)
    ours[..., 0, 0], ours[..., 1, 1], weights[..., 0, 0] = 1, 0.5, 3
    assert weighted_l1(ours, 0 * ours, weights, divide_by="pixels").item() == pytest.approx(3.5 / 4)
    ours, theirs, weights = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1), noise(2, 1, 4, 4, seed=2).abs()
    threefold = weighted_l1(ours, theirs, 3 * weights, divide_by="pixels")
    torch.testing.assert_close(threefold, 3 * weighted_l1(ours, theirs, weights, divide_by="pixels"))


def test_a_mask_leaves_places_out():
    ours, theirs = noise(1, 3, 4, 4).requires_grad_(), noise(1, 3, 4, 4, seed=1)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    mask[..., :2] = 1
    loss = weighted_l1(ours, theirs, mask)
    torch.testing.assert_close(loss, (ours - theirs)[..., :2].abs().mean())
    loss.backward()
    assert (ours.grad[..., 2:] == 0).all()
    assert (ours.grad[..., :2] != 0).all()


def test_a_picture_without_weight_is_a_distance_of_zero():
    ours, theirs = noise(2, 3, 4, 4).requires_grad_(), noise(2, 3, 4, 4, seed=1)
    weights = torch.ones(2, 1, 4, 4, dtype=torch.float64)
    weights[1] = 0
    loss = weighted_l1(ours, theirs, weights)
    torch.testing.assert_close(loss, (ours - theirs)[0].abs().mean() / 2)
    loss.backward()
    assert torch.isfinite(ours.grad).all()


def test_a_batch_is_the_mean_of_its_pictures():
    ours, theirs, weights = noise(4, 3, 8, 8), noise(4, 3, 8, 8, seed=1), noise(4, 1, 8, 8, seed=2).abs()
    one_by_one = [weighted_l1(ours[b, None], theirs[b, None], weights[b, None]) for b in range(4)]
    torch.testing.assert_close(weighted_l1(ours, theirs, weights), torch.stack(one_by_one).mean())


def test_gradcheck():
    ours, theirs, weights = noise(2, 2, 3, 3).requires_grad_(), noise(2, 2, 3, 3, seed=1), noise(2, 1, 3, 3).abs()
    assert torch.autograd.gradcheck(lambda x: weighted_l1(x, theirs, weights), (ours,))
    ours, theirs, weights = noise(2, 3, 4, 4).requires_grad_(), noise(2, 3, 4, 4, seed=1), noise(2, 1, 4, 4).abs()
    seen = lambda x: perceptual_loss(TwoScales(), x, theirs, pixel_weights=weights)  # noqa: E731
    assert torch.autograd.gradcheck(seen, (ours,))


# Features.


def test_layers_are_averaged():
    ours, theirs = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1)
    full = 2 * (ours - theirs).abs().mean()
    half = (F.avg_pool2d(ours, 2) - F.avg_pool2d(theirs, 2)).abs().mean()
    torch.testing.assert_close(perceptual_loss(TwoScales(), ours, theirs), (full + half) / 2)


def test_layers_are_summed_or_weighted():
    ours, theirs = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1)
    full = 2 * (ours - theirs).abs().mean()
    half = (F.avg_pool2d(ours, 2) - F.avg_pool2d(theirs, 2)).abs().mean()
    summed = perceptual_loss(TwoScales(), ours, theirs, layer_weights="sum")
    torch.testing.assert_close(summed, full + half)
    weighted = perceptual_loss(TwoScales(), ours, theirs, layer_weights=(0.25, 4.0))
    torch.testing.assert_close(weighted, full / 4 + 4 * half)
    with pytest.raises(ReenactError, match="has 2 layers, not 5; give layer_weights one for each"):
        perceptual_loss(TwoScales(), ours, theirs, layer_weights=PIX2PIXHD_LAYERS)


def test_threefold_weight_by_hand():
    # Off by 1 in the left half of the picture, which weighs 3, and by 0.5 in the right half: (3 + 0.5) / 4.
    theirs, weights = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    weights[..., :2] = 3
    ours = torch.full_like(theirs, 0.5)
    ours[..., :2] = 1
    at_full_and_half_size = perceptual_loss(TwoScales(), ours, theirs, pixel_weights=weights)
    assert at_full_and_half_size.item() == pytest.approx((2 * 3.5 / 4 + 3.5 / 4) / 2)
    # Not a mean's weights: 3 * 1 in one half and 0.5 in the other.
    literal = perceptual_loss(TwoScales(), ours, theirs, pixel_weights=weights, divide_by="pixels")
    assert literal.item() == pytest.approx((2 * 3.5 / 2 + 3.5 / 2) / 2)


def test_weights_are_averaged_down_to_each_map():
    # One pixel of four weighs 5, so the position of the smaller map that holds it weighs 2 and the other three 1.
    weights = torch.ones(1, 1, 4, 4)
    weights[0, 0, 0, 0] = 5
    image = torch.zeros(1, 3, 4, 4)
    image[..., :2, :2] = 1
    # At full size the picture's weights are 5 + 3 of 20, and its features twice its values.
    expected = (2 * 8 / 20 + 2 / 5) / 2
    assert perceptual_loss(TwoScales(), image, 0 * image, pixel_weights=weights).item() == pytest.approx(expected)


def test_gradients_reach_the_drawn_picture_alone():
    network, ours, theirs = TwoScales(), noise(1, 3, 4, 4).requires_grad_(), noise(1, 3, 4, 4, seed=1).requires_grad_()
    perceptual_loss(network, ours, theirs).backward()
    assert ours.grad.abs().min() > 0
    assert theirs.grad is None
