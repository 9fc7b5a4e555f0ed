"""PSNR, SSIM, masks and sharpness against scikit-image, SciPy, torchmetrics and hand-made cases."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut, chelsea
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from reenactor.research.metrics import black_outside, psnr, sharpness, ssim, ssim_map

SKIMAGE = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2, "data_range": 255}

NOISE = np.random.default_rng(0).normal(0, 12, (48, 64, 3))
TRUTH = [astronaut()[60:108, 190:254].copy(), chelsea()[100:148, 100:164].copy()]
DRAWN = [
    np.clip(TRUTH[0] + NOISE, 0, 255).astype(np.uint8),
    (gaussian_filter(TRUTH[1].astype(float), (2, 2, 0)) * 0.9).astype(np.uint8),
]
PAIRS = list(zip(DRAWN, TRUTH, strict=True))


def m1p1(picture):
    return picture.astype(np.float32) / np.float32(127.5) - 1


@pytest.fixture(params=[np.asarray, m1p1], ids=["uint8", "float"])
def form(request):
    return request.param


@pytest.fixture(scope="module")
def mask():
    """An ellipse with a soft edge, off the middle, touching the border."""
    y, x = np.mgrid[:48, :64]
    return np.clip(1.5 - np.hypot((y - 20) / 24, (x - 20) / 25), 0, 1).astype(np.float32)


def box(rows, columns):
    inside = np.zeros((48, 64), np.float32)
    inside[rows, columns] = 1
    return inside


@pytest.mark.parametrize("pair", PAIRS)
def test_psnr_is_scikit_images(pair, form):
    drawn, truth = pair
    assert psnr(form(drawn), form(truth)) == pytest.approx(peak_signal_noise_ratio(truth, drawn), abs=1e-5)


def test_masked_psnr_by_hand_in_both_readings():
    """4 x 4 pixels that are all off by 51 levels, 0.2 of white; the mask holds four of the sixteen."""
    truth, mask = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), np.float32)
    drawn = truth + np.uint8(51)
    mask[1:3, 1:3] = 1
    assert psnr(drawn, truth, mask) == pytest.approx(-10 * np.log10(0.2**2), abs=1e-4)
    black = [black_outside(one, mask) for one in (drawn, truth)]
    assert [one.sum() for one in black] == [4 * 3 * 151, 4 * 3 * 100]
    assert psnr(*black) == pytest.approx(-10 * np.log10(0.2**2 * 4 / 16), abs=1e-4), "6.02 dB more"
    mask[0] = 0.5
    assert black_outside(drawn, mask)[0].tolist() == [[76] * 3] * 4, "a soft edge is half as bright"


@pytest.mark.parametrize("pair", PAIRS)
def test_ssim_is_scikit_images(pair, form):
    assert ssim(*map(form, pair)) == pytest.approx(structural_similarity(*pair, **SKIMAGE), abs=2e-6)


@pytest.mark.parametrize("pair", PAIRS)
def test_ssim_map_is_scikit_images_at_the_border_too(pair, mask):
    similarity = structural_similarity(*pair, full=True, **SKIMAGE)[1]
    np.testing.assert_allclose(ssim_map(*pair), similarity, atol=2e-5)
    masked = (similarity * mask[..., None]).sum() / (3 * mask.sum())
    assert ssim(*pair, mask) == pytest.approx(masked, abs=2e-6)
    assert abs(ssim(*pair, np.ones((48, 64), np.float32)) - ssim(*pair)) > 1e-4


@pytest.mark.parametrize("pair", PAIRS)
def test_ssim_is_torchmetrics_in_double_precision(pair):
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = (torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(255) for picture in pair)
    _, full = structural_similarity_index_measure(a.double(), b.double(), data_range=1.0, return_full_image=True)
    assert ssim(*pair) == pytest.approx(float(full[..., 5:-5, 5:-5].mean()), abs=1e-10)


@pytest.mark.parametrize("pair", PAIRS)
def test_masked_psnr_of_a_box_is_that_of_the_crop(pair):
    drawn, truth = pair
    expected = peak_signal_noise_ratio(truth[8:30, 20:50], drawn[8:30, 20:50])
    assert psnr(drawn, truth, box(slice(8, 30), slice(20, 50))) == pytest.approx(expected, abs=1e-5)


def test_a_soft_mask_weighs():
    drawn, truth = np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 3), np.float32)
    drawn[:, 0], drawn[:, 1] = 0.2, 0.4  # in [0, 1] errors of 0.1 and 0.2
    error = (0.25 * 0.01 + 0.75 * 0.04) / 1.0
    assert psnr(drawn, truth, np.array([[0.25, 0.75]], np.float32)) == pytest.approx(-10 * np.log10(error), abs=1e-4)


def test_what_lies_outside_does_not_count():
    drawn, truth = DRAWN[0].copy(), TRUTH[0]
    inside = box(slice(10, 30), slice(10, 30))
    before = psnr(drawn, truth, inside), ssim(drawn, truth, inside)
    drawn[36:] = 0
    assert (psnr(drawn, truth, inside), ssim(drawn, truth, inside)) == before


def test_equal_pictures_are_ideal(mask, form):
    truth = form(TRUTH[1])
    assert psnr(truth, truth) == psnr(truth, truth, mask) == float("inf")
    assert ssim(truth, truth) == pytest.approx(1)
    assert ssim(truth, truth, mask) == pytest.approx(1)


def test_known_differences():
    truth = np.zeros((16, 16, 3), np.float32)
    assert psnr(truth + 0.2, truth) == pytest.approx(20.0, abs=1e-5)  # 0.1 of the range
    # Flat pictures of 0.5 and 0.6: only the brightness term is not 1.
    brightness = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
    assert ssim(truth + 0.2, truth) == pytest.approx(brightness, abs=1e-6)


def test_an_empty_mask_gives_nan():
    nothing = np.zeros((48, 64), np.float32)
    assert np.isnan([psnr(*PAIRS[0], nothing), ssim(*PAIRS[0], nothing), sharpness(TRUTH[0], nothing)]).all()


def test_sharpness_against_scipy(mask, form):
    picture = TRUTH[0]
    y = picture @ np.array([0.299, 0.587, 0.114]) / 255
    detail = y - gaussian_filter(y, 1.5, truncate=3.5)

    def std(values):
        mean = (mask * values).sum() / mask.sum()
        return np.sqrt((mask * (values - mean) ** 2).sum() / mask.sum())

    assert sharpness(form(picture), mask) == pytest.approx(std(detail) / std(y), rel=1e-4)


def test_sharpness_falls_with_blur_but_not_with_contrast(mask):
    picture = TRUTH[0].astype(float)

    def ratio(changed):
        return sharpness(changed / 127.5 - 1, mask) / sharpness(TRUTH[0], mask)

    blurred = [ratio(gaussian_filter(picture, (s, s, 0))) for s in (0.5, 1, 2, 4)]
    assert blurred == sorted(blurred, reverse=True)
    assert blurred[0] < 0.95
    assert blurred[-1] < 0.3
    assert ratio(0.6 * picture + 20) == pytest.approx(1, abs=1e-4)


def test_shapes_must_agree_and_windows_fit():
    with pytest.raises(Exception, match=r"one shape|Type-check"):
        psnr(np.zeros((16, 16, 3)), np.zeros((16, 17, 3)))
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(np.zeros((10, 16, 3)), np.zeros((10, 16, 3)))
    ssim(np.zeros((11, 11, 3)), np.zeros((11, 11, 3)))
