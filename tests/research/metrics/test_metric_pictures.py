"""PSNR, SSIM, masks and sharpness against scikit-image, SciPy and hand-made cases."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut, chelsea
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from reenactor.research.metrics import (
    Average,
    Outside,
    m_psnr,
    m_ssim,
    psnr,
    sharpness,
    sharpness_ratio,
    ssim,
    ssim_map,
)

SKIMAGE = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2, "data_range": 255}


@pytest.fixture(scope="module")
def pictures():
    """Two crops, two disturbed versions of them; (48, 64, 3) uint8."""
    rng = np.random.default_rng(0)
    truth = [astronaut()[60:108, 190:254], chelsea()[100:148, 100:164]]
    noisy = np.clip(truth[0] + rng.normal(0, 12, truth[0].shape), 0, 255)
    blurred = gaussian_filter(truth[1].astype(float), (2, 2, 0)) * 0.9
    return [noisy.astype(np.uint8), blurred.astype(np.uint8)], truth


def tensor(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def m1p1(pictures):
    return tensor(pictures).float() / 127.5 - 1


@pytest.fixture(scope="module")
def mask():
    """An ellipse with a soft edge, off the middle, touching the border."""
    y, x = np.mgrid[:48, :64]
    inside = np.clip(1.5 - np.hypot((y - 20) / 24, (x - 20) / 25), 0, 1)
    return torch.from_numpy(np.stack([inside, inside[::-1]]))[:, None].float()


@pytest.mark.parametrize("form", [tensor, m1p1])
def test_psnr_is_scikit_images(pictures, form):
    drawn, truth = pictures
    wanted = [peak_signal_noise_ratio(b, a) for a, b in zip(drawn, truth, strict=True)]
    np.testing.assert_allclose(psnr(form(drawn), form(truth)), wanted, atol=1e-4)


@pytest.mark.parametrize("form", [tensor, m1p1])
def test_ssim_is_scikit_images(pictures, form):
    drawn, truth = pictures
    wanted = [structural_similarity(a, b, **SKIMAGE) for a, b in zip(drawn, truth, strict=True)]
    np.testing.assert_allclose(ssim(form(drawn), form(truth)), wanted, atol=2e-6)


def test_ssim_map_is_scikit_images_at_the_border_too(pictures, mask):
    drawn, truth = pictures
    maps = np.stack([structural_similarity(a, b, full=True, **SKIMAGE)[1] for a, b in zip(drawn, truth, strict=True)])
    np.testing.assert_allclose(ssim_map(tensor(drawn), tensor(truth)).permute(0, 2, 3, 1), maps, atol=2e-5)
    weights = mask.permute(0, 2, 3, 1).numpy()
    wanted = (maps * weights).sum((1, 2, 3)) / (3 * weights.sum((1, 2, 3)))
    np.testing.assert_allclose(m_ssim(tensor(drawn), tensor(truth), mask), wanted, atol=2e-6)
    assert (
        abs(m_ssim(tensor(drawn), tensor(truth), torch.ones(2, 1, 48, 64)) - ssim(tensor(drawn), tensor(truth))).max()
        > 1e-4
    )


def test_m_psnr_of_a_box_is_that_of_the_crop(pictures):
    drawn, truth = pictures
    box = torch.zeros(2, 1, 48, 64)
    box[..., 8:30, 20:50] = 1
    wanted = [peak_signal_noise_ratio(b[8:30, 20:50], a[8:30, 20:50]) for a, b in zip(drawn, truth, strict=True)]
    np.testing.assert_allclose(m_psnr(tensor(drawn), m1p1(truth), box), wanted, atol=1e-4)


def test_a_soft_mask_weighs():
    drawn, truth = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    drawn[..., 0], drawn[..., 1] = 0.2, 0.4  # in [0, 1] errors of 0.1 and 0.2
    error = (0.25 * 0.01 + 0.75 * 0.04) / 1.0
    value = m_psnr(drawn, truth, torch.tensor([[[[0.25, 0.75]]]]))
    np.testing.assert_allclose(value, [-10 * np.log10(error)], atol=1e-4)


def test_black_outside_counts_the_whole_frame(pictures, mask):
    drawn, truth = pictures
    box = (mask > 0.5).float()
    black = [
        [np.where(box[i, 0, ..., None] > 0, p, 0).astype(np.uint8) for i, p in enumerate(side)] for side in pictures
    ]
    wanted = [structural_similarity(a, b, **SKIMAGE) for a, b in zip(*black, strict=True)]
    np.testing.assert_allclose(m_ssim(m1p1(drawn), m1p1(truth), box, outside=Outside.BLACK), wanted, atol=2e-6)
    wanted = [peak_signal_noise_ratio(b, a) for a, b in zip(*black, strict=True)]
    np.testing.assert_allclose(m_psnr(m1p1(drawn), m1p1(truth), box, outside=Outside.BLACK), wanted, atol=1e-4)
    # The error within is the same, spread over more pixels.
    gain = m_psnr(m1p1(drawn), m1p1(truth), box, outside=Outside.BLACK) - m_psnr(m1p1(drawn), m1p1(truth), box)
    np.testing.assert_allclose(gain, -10 * np.log10(box.mean((1, 2, 3))), atol=1e-4)


def test_what_lies_outside_does_not_count(pictures):
    drawn, truth = tensor(pictures[0]).clone(), tensor(pictures[1])
    box = torch.zeros(2, 1, 48, 64)
    box[..., 10:30, 10:30] = 1
    before = m_psnr(drawn, truth, box), m_ssim(drawn, truth, box)
    drawn[..., 36:, :] = 0
    torch.testing.assert_close((m_psnr(drawn, truth, box), m_ssim(drawn, truth, box)), before)


def test_equal_pictures_are_ideal(pictures, mask):
    truth = m1p1(pictures[1])
    assert torch.isinf(psnr(truth, truth)).all()
    assert torch.isinf(m_psnr(truth, truth, mask)).all()
    torch.testing.assert_close(ssim(truth, truth), torch.ones(2))
    torch.testing.assert_close(m_ssim(truth, truth, mask), torch.ones(2))
    torch.testing.assert_close(sharpness_ratio(truth, mask, truth, mask), torch.ones(2))


def test_known_differences():
    truth = torch.zeros(1, 3, 16, 16)
    np.testing.assert_allclose(psnr(truth + 0.2, truth), [20.0], atol=1e-4)  # 0.1 of the range
    # Flat pictures of 0.5 and 0.6: only the brightness term is not 1.
    wanted = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
    np.testing.assert_allclose(ssim(truth + 0.2, truth), [wanted], atol=1e-4)


def test_nothing_inside_is_not_a_number(pictures):
    truth, nothing = tensor(pictures[1]), torch.zeros(2, 1, 48, 64)
    assert torch.isnan(m_psnr(truth, truth, nothing)).all()
    assert torch.isnan(m_ssim(truth, truth, nothing)).all()
    assert torch.isnan(sharpness(truth, nothing)).all()


def test_sharpness_against_scipy(pictures, mask):
    picture = pictures[1][0]
    y = picture @ np.array([0.299, 0.587, 0.114]) / 255
    detail = y - gaussian_filter(y, 1.5, truncate=3.5)
    w = mask[0, 0].numpy()

    def std(values):
        mean = (w * values).sum() / w.sum()
        return np.sqrt((w * (values - mean) ** 2).sum() / w.sum())

    value = sharpness(tensor([picture]), mask[:1])
    np.testing.assert_allclose(value, [std(detail) / std(y)], rtol=1e-4)


def test_sharpness_falls_with_blur_but_not_with_contrast(pictures, mask):
    picture = pictures[1][0].astype(float)

    def ratio(changed):
        changed = torch.from_numpy(changed / 127.5 - 1).permute(2, 0, 1)[None].float()
        return float(sharpness_ratio(changed, mask[:1], tensor([pictures[1][0]]), mask[:1]))

    blurred = [ratio(gaussian_filter(picture, (s, s, 0))) for s in (0.5, 1, 2, 4)]
    assert blurred == sorted(blurred, reverse=True)
    assert blurred[0] < 0.95
    assert blurred[-1] < 0.3
    assert ratio(0.6 * picture + 20) == pytest.approx(1, abs=1e-4)


def test_shapes_must_agree_and_windows_fit():
    with pytest.raises(Exception, match=r"differ in shape|Type-check"):
        psnr(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17))
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(torch.zeros(1, 3, 10, 16), torch.zeros(1, 3, 10, 16))
    ssim(torch.zeros(1, 3, 11, 11), torch.zeros(1, 3, 11, 11))


def test_gradients_flow():
    drawn = torch.rand(1, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    truth = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim(2 * x - 1, 2 * truth - 1), drawn)


def test_running_mean_is_the_mean_of_all(pictures):
    drawn, truth = tensor(pictures[0]), tensor(pictures[1])
    running = Average(ssim)
    running.update(drawn[:1], truth[:1])
    running.update(drawn[1:], truth[1:])
    assert running.compute() == pytest.approx(float(ssim(drawn, truth).double().mean()), abs=1e-7)
