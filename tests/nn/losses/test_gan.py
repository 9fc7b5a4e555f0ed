"""Adversarial losses and feature matching against sums by hand."""

import pytest
import torch

from reenactor.nn.losses import (
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)

REAL = torch.tensor([[[[2.0, 0.5], [-1.0, 1.0]]]])
FAKE = torch.tensor([[[[-3.0, 0.0], [0.25, -0.5]]]])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hinge_by_hand():
    # 1 - real: -1, 0.5, 2, 0; 1 + fake: -2, 1, 1.25, 0.5.
    assert hinge_discriminator(REAL, FAKE).item() == pytest.approx(2.5 / 4 + 2.75 / 4)
    assert hinge_generator(FAKE).item() == pytest.approx(3.25 / 4)


def test_least_squares_by_hand():
    # real - 1: 1, -0.5, -2, 0; fake - 1: -4, -1, -0.75, -1.5.
    assert least_squares_discriminator(REAL, FAKE).item() == pytest.approx((5.25 / 4 + 9.3125 / 4) / 2)
    assert least_squares_generator(FAKE).item() == pytest.approx((16 + 1 + 0.5625 + 2.25) / 4)


def test_a_discriminator_that_is_right_loses_nothing():
    right, wrong = torch.full((2, 1, 3, 3), 1.0), torch.full((2, 1, 3, 3), -1.0)
    assert hinge_discriminator(right, wrong) == 0
    assert least_squares_discriminator(right, torch.zeros(2, 1, 3, 3)) == 0
    assert least_squares_generator(right) == 0


@pytest.mark.parametrize("loss", [hinge_discriminator, least_squares_discriminator])
def test_scales_add_up(loss):
    real, fake = [noise(2, 1, n, n) for n in (8, 4, 2)], [noise(2, 1, n, n, seed=1) for n in (8, 4, 2)]
    torch.testing.assert_close(loss(real, fake), sum(loss(r, f) for r, f in zip(real, fake, strict=True)))
    with pytest.raises(ValueError, match="shorter"):
        loss(real, fake[:2])


@pytest.mark.parametrize("loss", [hinge_generator, least_squares_generator])
def test_generators_scales_add_up(loss):
    fake = [noise(2, 1, n, n) for n in (8, 4, 2)]
    torch.testing.assert_close(loss(fake), sum(loss(f) for f in fake))


def test_gradients():
    real, fake = noise(2, 1, 3, 2).requires_grad_(), noise(2, 1, 3, 2, seed=1).requires_grad_()
    for loss in (hinge_discriminator, least_squares_discriminator):
        assert torch.autograd.gradcheck(loss, (real, fake))
    for loss in (hinge_generator, least_squares_generator):
        assert torch.autograd.gradcheck(loss, (fake,))


def test_scores_in_bfloat16_are_summed_in_float32():
    # In bfloat16 the mean would be one of 256 steps between 1 and 2.
    scores = torch.full((1, 1, 10, 10), 1.0, dtype=torch.bfloat16)
    scores[0, 0, 0, 0] = 1.25
    for loss in (hinge_generator(-scores), least_squares_generator(scores + 1)):
        assert loss.dtype == torch.float32
    assert hinge_generator(-scores).item() == pytest.approx(1.0025, abs=1e-6)


def test_feature_matching_sums_means_over_layers():
    fake, real = [noise(2, 3, 4, 4), noise(2, 5, 2, 2)], [noise(2, 3, 4, 4, seed=2), noise(2, 5, 2, 2, seed=3)]
    for one in (*fake, *real):
        one.requires_grad_()
    loss = feature_matching(fake, real)
    expected = sum(abs(f - r).sum() / f.numel() for f, r in zip(fake, real, strict=True))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(r.grad is None for r in real)
    torch.testing.assert_close(fake[1].grad, (fake[1] - real[1]).sign() / 40)
