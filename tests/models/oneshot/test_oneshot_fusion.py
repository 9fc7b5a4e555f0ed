"""Paper A's fusion: the hand-made masks against OpenCV, the learned mask, and the warped photo."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reenactor.face.geometry import draw_face_mesh, face_mesh, turned
from reenactor.face.geometry.contours import LEFT_IRIS, RIGHT_IRIS
from reenactor.face.geometry.mesh_flow import FLAGS, mesh_flow, stretching_flow
from reenactor.face.maps import PARSING_CHANNELS, gaze_maps, parsing_map
from reenactor.face.retarget import Retargeter
from reenactor.models.oneshot import FusionNet, OneShotConfig, draw_warped, handmade_fusion, warped_m1p1, warped_photo
from reenactor.models.oneshot.blocks import PARSING_WIDTH
from reenactor.models.oneshot.classical import _warped_together, warped_photos_m1p1
from reenactor.models.oneshot.fusion import blend, drawn_parts, eroded_and_blurred, mask_of, toned
from reenactor.nn import warp_cubic

SIZE = 256
CONFIG = OneShotConfig()
GAZE = PARSING_CHANNELS.index("gaze")


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def person(open_mouthed):
    pixels, mesh = open_mouthed.cut(SIZE)
    return pixels, mesh.astype(np.float32)


@pytest.fixture(scope="module")
def parsing(person):
    return parsing_map(torch.from_numpy(person[1])[None], SIZE)


def as_image(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def test_channels_are_those_of_the_maps():
    assert len(PARSING_CHANNELS) == PARSING_WIDTH
    assert PARSING_CHANNELS[:2] == ("face", "brows")
    assert PARSING_CHANNELS[GAZE] == "gaze"


# Hand-made.


@pytest.mark.parametrize("side", [1, 5, 7])
def test_erosion_and_blur_as_in_opencv(side):
    mask = noise(2, 1, 20, 31).abs()
    for one, found in zip(mask, eroded_and_blurred(mask, side), strict=True):
        eroded = cv2.erode(one[0].numpy(), np.ones((side, side), np.uint8))
        expected = cv2.GaussianBlur(eroded, (side, side), math.sqrt(side))
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


def test_handmade_blend_as_in_opencv(parsing):
    drawn, warped = noise(1, 3, SIZE, SIZE), noise(1, 3, SIZE, SIZE, seed=1)
    where, expected = parsing[0].numpy(), drawn[0].numpy()

    def mask(region, side):
        return cv2.GaussianBlur(cv2.erode(region, np.ones((side, side), np.uint8)), (side, side), math.sqrt(side))

    skin = mask(np.clip(where[0] - where[2:].max(0), 0, None), 7) ** 2
    for share in (skin, mask(where[GAZE], 5)):
        expected = expected * (1 - share) + share * (0.1 * expected + 0.9 * warped[0].numpy())
    found = handmade_fusion(drawn, warped, parsing, CONFIG)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    # Both halves of the blend are there.
    assert skin.max() > 0.99
    assert mask(where[GAZE], 5).max() > 0.1


def test_handmade_widths_follow_the_resolution(person):
    small = parsing_map(torch.from_numpy(person[1])[None] / 4 - 0.375, SIZE // 4)
    drawn, warped = torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)
    skin = (small[:, :1] - small[:, 2:].amax(1, keepdim=True)).clamp_min(0)
    # 7 / 4 pixels are 1 in odd numbers: nothing is eroded or blurred.
    expected = 0.9 * skin.square() + (1 - 0.9 * skin.square()) * 0.9 * small[:, GAZE : GAZE + 1]
    torch.testing.assert_close(handmade_fusion(drawn, warped, small, CONFIG)[:, :1], expected)


# Learned.


def flagged(count, height, width=None):
    """A warped picture and its flags."""
    shape = (height, width or height)
    return torch.cat([noise(count, 3, *shape, seed=1), noise(count, 5, *shape, seed=2).abs()], 1)


def made(width=8):
    torch.manual_seed(0)
    return FusionNet(OneShotConfig(fusion_width=width))


@torch.no_grad()
def test_a_fresh_mask_takes_skin_from_the_warp_and_parts_from_the_decoder(parsing):
    mask = mask_of(made()(noise(1, 3, SIZE, SIZE), flagged(1, SIZE), parsing), 0.01)
    parts = drawn_parts(parsing)
    share = 1 / (1 + math.exp(-2))
    assert float(mask[parts == 0].mean()) == pytest.approx(share, abs=0.01)
    assert float(mask[parts == 1].mean()) == pytest.approx(1 - share, abs=0.01)
    assert 0.02 < (parts > 0.5).float().mean() < 0.4


@torch.no_grad()
def test_mask_stays_between_its_bounds(parsing):
    network = made()
    nn.init.normal_(network.logit.weight, std=100)
    mask = mask_of(network(noise(1, 3, SIZE, SIZE), flagged(1, SIZE), parsing), 0.01)
    assert float(mask.min()) == pytest.approx(CONFIG.fusion_least, abs=1e-6)
    assert float(mask.max()) == pytest.approx(1 - CONFIG.fusion_least, abs=1e-6)


def test_blend_by_hand():
    mask = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    found = blend(mask, torch.full((1, 3, 1, 3), 1.0), torch.full((1, 3, 1, 3), -1.0))
    assert found[0, 0, 0].tolist() == [-1.0, -0.5, 1.0]


@torch.no_grad()
def test_batch_equals_loop_and_other_sizes():
    network, inputs = made(), (noise(3, 3, 64, 96), flagged(3, 64, 96), noise(3, 9, 64, 96, seed=2).abs())
    nn.init.normal_(network.logit.weight)
    masks = network(*inputs)
    assert masks.shape == (3, 1, 64, 96)
    torch.testing.assert_close(masks, torch.cat([network(*(x[b : b + 1] for x in inputs)) for b in range(3)]))


def test_learns_which_picture_is_right_and_does_not_collapse():
    """Where the warp is torn it must take the drawn face, elsewhere the warp, whatever the first mask said."""
    network, size = made(), 64
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def example(seed):
        truth = F.interpolate(noise(4, 3, 8, 8, seed=seed), size, mode="bilinear")
        torn = torch.zeros(4, 1, size, size)
        torn[..., 16:48, (seed % 3) * 16 : (seed % 3) * 16 + 32] = 1
        return truth, torch.cat([truth + torn, torch.zeros(4, 5, size, size)], 1), truth + 0.3, torn

    parsing = torch.zeros(4, 9, size, size)
    parsing[:, 7, 40:] = 1
    for step in range(40):
        truth, warped, drawn, _ = example(step)
        optimizer.zero_grad()
        (blend(mask_of(network(drawn, warped, parsing), 0.01), warped[:, :3], drawn) - truth).abs().mean().backward()
        optimizer.step()
    truth, warped, drawn, torn = example(100)
    with torch.no_grad():
        mask, warped = mask_of(network(drawn, warped, parsing), 0.01), warped[:, :3]
        error = (blend(mask, warped, drawn) - truth).abs().mean()
    # Away from the edges, which the mask meets at half the resolution.
    inner, outer = (F.max_pool2d(region, 9, stride=1, padding=4) for region in (torn, 1 - torn))
    assert mask[outer == 0].mean() < 0.3
    assert mask[inner == 0].mean() > 0.7
    assert error < 0.5 * min((warped - truth).abs().mean(), (drawn - truth).abs().mean())


def test_gradients_reach_every_parameter():
    network = made()
    nn.init.normal_(network.logit.weight)
    network(noise(2, 3, 64, 64), flagged(2, 64), noise(2, 9, 64, 64).abs()).square().sum().backward()
    assert all(p.grad.abs().max() > 1e-7 for p in network.parameters())


@torch.no_grad()
@pytest.mark.parametrize("channel", range(8))
def test_the_mask_depends_on_the_warp_and_each_flag(channel):
    network, warped = made(), flagged(1, 64)
    nn.init.normal_(network.logit.weight)
    inputs, changed = (noise(1, 3, 64, 64), noise(1, 9, 64, 64).abs()), warped.clone()
    changed[:, channel, :32] = 0
    before, after = (network(inputs[0], given, inputs[1]) for given in (warped, changed))
    assert (before - after).abs().max() > 1e-3


@torch.no_grad()
def test_tones_are_the_photos():
    """The difference in colour is undone where skin is trusted, and carried on to where the warp is torn."""
    drawn, parsing, flags = noise(1, 3, 128, 128) * 0.2, torch.zeros(1, 9, 128, 128), torch.zeros(1, 5, 128, 128)
    parsing[:, 0] = 1
    tint = torch.tensor([0.3, -0.1, 0.2])[None, :, None, None]
    warped = drawn + tint
    warped[:, :, :24, :24] = -1
    flags[:, FLAGS.index("stretched"), :24, :24] = 1
    torch.testing.assert_close(
        toned(drawn, torch.cat([warped, flags], 1), parsing, CONFIG), drawn + tint, atol=0.02, rtol=0
    )
    # Were it trusted, black would come in.
    black = toned(drawn, torch.cat([warped, torch.zeros_like(flags)], 1), parsing, CONFIG)
    assert (black - drawn - tint)[:, :, :16, :16].abs().mean() > 0.3
    # Without a face nothing is known.
    torch.testing.assert_close(toned(drawn, torch.cat([warped, flags], 1), 0 * parsing, CONFIG), drawn)


# The warped photo.


@pytest.fixture(scope="module")
def photo(person, parsing):
    return warped_photo(as_image(person[0]), person[1], parsing[0, GAZE])


def test_photo_at_its_own_landmarks_is_the_photo(photo, person, parsing):
    np.testing.assert_array_equal(photo.picture, person[0])
    drawn = draw_warped(photo, person[1], parsing[0, GAZE])
    assert np.abs(drawn.astype(int) - person[0]).mean() < 0.5


def test_irises_follow_their_landmarks(photo, person):
    """Both irises 3 pixels to the right: pixels inside them come from 3 to the left, the rest is the plain warp."""
    pixels, mesh = person
    moved = mesh.copy()
    moved[[*RIGHT_IRIS, *LEFT_IRIS], 0] += 3
    gaze = gaze_maps(torch.from_numpy(moved)[None], SIZE)[0].amax(0)
    drawn = draw_warped(photo, moved, gaze).astype(int)
    plain = draw_face_mesh(pixels, face_mesh(mesh, SIZE), moved).astype(int)
    seen = np.roll(photo.gaze, 3, axis=1) * gaze.numpy()
    assert (seen > 0.999).sum() > 30
    np.testing.assert_allclose(drawn[seen > 0.999], np.roll(pixels, 3, axis=1)[seen > 0.999].astype(int), atol=1)
    np.testing.assert_array_equal(drawn[seen == 0], plain[seen == 0])
    assert np.abs(drawn - plain)[seen > 0.999].mean() > 3


def test_of_closed_eyes_no_iris_is_taken(person):
    pixels, mesh = person
    nothing = torch.zeros(SIZE, SIZE)
    gaze = gaze_maps(torch.from_numpy(mesh)[None], SIZE)[0].amax(0)
    drawn = draw_warped(warped_photo(as_image(pixels), mesh, nothing), mesh, gaze)
    np.testing.assert_array_equal(drawn, draw_face_mesh(pixels, face_mesh(mesh, SIZE), mesh))


def test_what_fusion_takes_is_the_warp_and_where_it_cannot_be_trusted(photo, person, parsing):
    mesh = person[1]
    turned = mesh.copy()
    turned[:, 0] = mesh[:, 0] + 0.5 * mesh[:, 2]
    wanted, gaze = np.stack([mesh, turned]), parsing[:, GAZE].expand(2, -1, -1)
    found = warped_m1p1(photo, wanted, gaze)
    assert found.shape == (2, 8, SIZE, SIZE)
    for one, mesh_px in zip(found, wanted, strict=True):
        drawn = draw_warped(photo, mesh_px, gaze[0])
        torch.testing.assert_close(one[:3], as_image(drawn))
        seen, moved = (torch.from_numpy(np.ascontiguousarray(points))[None] for points in (mesh, mesh_px))
        flags = mesh_flow(seen, moved, SIZE, SIZE // 2).flags[0]
        torch.testing.assert_close(one[3:], flags.repeat_interleave(2, 1).repeat_interleave(2, 2))
    inside = parsing[0, 0] > 0.9
    stretched = found[:, 3 + FLAGS.index("stretched")]
    assert stretched[1][inside].mean() > 3 * stretched[0][inside].mean() + 0.02


def test_warped_together_as_one_by_one(person, motions):
    """What GPUs do in training, against what is drawn in use: OpenCV's, in 8 bits, frame by frame."""
    pixels, mesh = person
    meshes, neutral = motions["talk"]
    wanted = np.stack([Retargeter(mesh, neutral)(one) for one in meshes[:: len(meshes) // 4][:4]])
    wanted[3] = turned(mesh, np.array([20.0, 5.0, 8.0]), shift_px=(6.0, -3.0))
    wanted = wanted.astype(np.float32)
    gaze = parsing_map(torch.from_numpy(wanted), SIZE)[:, GAZE]
    # The photos differ: their order must be kept.
    photos = torch.stack([as_image(pixels) * shade for shade in (1.0, 0.9, 0.8, 0.7)])
    own = parsing_map(torch.from_numpy(mesh)[None], SIZE)[:, GAZE].expand(4, -1, -1)
    inputs = photos, torch.from_numpy(mesh).expand(4, -1, -1), own, torch.from_numpy(wanted), gaze
    together, alone = _warped_together(*inputs), warped_photos_m1p1(*inputs)
    for one, other, photo, target, where in zip(together, alone, photos, wanted, gaze, strict=True):
        drawn = warped_m1p1(warped_photo(photo, mesh, own[0]), target[None], where[None])[0]
        assert torch.equal(other, drawn)
        torch.testing.assert_close(one[3:], drawn[3:])
        levels = 127.5 * (one[:3] - drawn[:3]).abs()
        assert levels.mean() < 0.6
        assert (levels > 8).float().mean() < 0.004
        # Irises, where rounding to 8 bits is most of the difference.
        assert levels[:, where > 0.9].mean() < 1.5
    # They would not be there in a plain warp.
    plain = warp_cubic(photos, stretching_flow(inputs[1], inputs[3], SIZE))
    assert (127.5 * (plain - together[:, :3]).abs())[:, 0][gaze > 0.9].mean() > 3


def test_irises_outside_the_picture_are_no_matter(photo, person):
    moved = person[1] - np.float32([SIZE, 0, 0])
    assert draw_warped(photo, moved, torch.zeros(SIZE, SIZE)).shape == (SIZE, SIZE, 3)
