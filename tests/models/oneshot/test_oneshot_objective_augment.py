"""Changed pictures and landmarks stay together; each change against someone else's arithmetic."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from reenactor.core import MESH_POINTS
from reenactor.face.geometry import mean_face
from reenactor.models.oneshot import Augmentation, augmented
from reenactor.models.oneshot.augment import blurred, mirrored, moved, quantized, with_occluded_cheek

SIZE = 64
SEEN = (33, 263, 61, 291, 1)
"""Corners of eyes and mouth, and the tip of the nose."""


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def faces(count=1, size=SIZE):
    """Mean faces of different widths, in the middle of the picture."""
    wide = np.linspace(0.9, 1.1, count)[:, None, None] * np.array([1.0, 0.0, 0.0]) + np.array([0.0, 1.0, 1.0])
    return torch.tensor((mean_face().points * wide * 0.3 * size + (size - 1) / 2).astype(np.float32))


def spots(mesh_px, size=SIZE):
    """A picture a landmark, with a bright spot on it: (B, len(SEEN), S, S)."""
    x = torch.arange(size)
    dx, dy = (x - mesh_px[:, SEEN, axis, None] for axis in (0, 1))
    return torch.exp(-(dx.square()[:, :, None] + dy.square()[..., None]) / 8)


def places(pictures):
    """Centres of the spots, (B, len(SEEN), 2)."""
    x = torch.arange(pictures.shape[-1], dtype=pictures.dtype)
    mass = pictures.sum((2, 3))
    return torch.stack([pictures.sum(2) @ x / mass, pictures.sum(3) @ x / mass], -1)


@pytest.mark.parametrize(
    ("angle", "scale", "shift"), [(0.5, 1, (0, 0)), (0, 0.8, (0, 0)), (0, 1, (5, -7)), (-0.3, 1.2, (2, 3))]
)
def test_landmarks_move_with_the_picture(angle, scale, shift):
    mesh = faces(2)
    pictures, points = moved(
        spots(mesh), mesh, torch.tensor([angle, 0.0]), torch.tensor([scale, 1.0]), torch.tensor([shift, (0.0, 0.0)])
    )
    assert (places(pictures) - points[:, SEEN, :2]).abs().max() < 0.05
    torch.testing.assert_close(pictures[1], spots(mesh)[1])
    torch.testing.assert_close(points[1], mesh[1])
    assert (points[0] - mesh[0]).norm(dim=-1).max() > 1


def test_a_quarter_turn_is_clockwise():
    images, quarter = noise(1, 3, SIZE, SIZE), torch.tensor([torch.pi / 2])
    turned, points = moved(images, torch.tensor([[[0.0, 0.0, 2.0]]]), quarter, torch.ones(1), torch.zeros(1, 2))
    torch.testing.assert_close(turned, images.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(points[0, 0], torch.tensor([SIZE - 1.0, 0.0, 2.0]), atol=1e-4, rtol=0)


def test_mirrored_landmarks_change_sides():
    mesh = faces(2) + torch.tensor([3.0, 0.0, 0.0])
    pictures, points = mirrored(spots(mesh), mesh, torch.tensor([True, False]))
    torch.testing.assert_close(points[1], mesh[1])
    # What was vertex 263's spot, at the image's right, is now where vertex 33 is.
    found = places(pictures)[0]
    torch.testing.assert_close(found[SEEN.index(263)], points[0, 33, :2], atol=0.02, rtol=0)
    torch.testing.assert_close(found[SEEN.index(1)], points[0, 1, :2], atol=0.02, rtol=0)
    # The mean face is symmetric: mirrored about the picture's middle it is itself.
    centred = faces()
    torch.testing.assert_close(mirrored(spots(centred), centred, torch.tensor([True]))[1], centred, atol=1e-3, rtol=0)


@pytest.mark.parametrize("left", [True, False])
def test_an_occluded_cheek_lies_beyond_the_outline(left):
    mesh = (mean_face().points * 30 + 64).astype(np.float32)
    changed = with_occluded_cheek(mesh, left=left, begins=0.7, beyond=0.2, squeezed=0.1)
    # The mean face looks straight ahead, so its bridge is in the middle and across is x.
    outwards = (mesh[:, 0] - mesh[168, 0]) * (1 if left else -1)
    edge = outwards.max()
    occluded = outwards > 0.7 * edge + 1e-3
    assert 20 < occluded.sum() < 150
    np.testing.assert_array_equal(changed[~occluded], mesh[~occluded])
    np.testing.assert_array_equal(changed[:, 1:], mesh[:, 1:])
    there = (changed[occluded, 0] - mesh[168, 0]) * (1 if left else -1)
    np.testing.assert_allclose(there, edge * (1.2 - 0.1 * (1 - outwards[occluded] / edge)), atol=1e-3)


def test_blur_like_scipys():
    images, widths = noise(2, 3, 20, 24), torch.tensor([0.7, 1.3])
    for image, ours, width in zip(images, blurred(images, widths), widths, strict=True):
        theirs = gaussian_filter(image.numpy(), width.item(), radius=4, mode="nearest", axes=(1, 2))
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_blocks_like_scipys_cosine_transform():
    images, steps = noise(2, 1, 16, 24), torch.tensor([0.1, 0.3])
    frequency = np.arange(8)
    for image, ours, step in zip(images.numpy(), quantized(images, steps).numpy(), steps.numpy(), strict=True):
        for top in range(0, 16, 8):
            for left in range(0, 24, 8):
                block = image[0, top : top + 8, left : left + 8]
                grid = step * (1 + 3 * (frequency[:, None] + frequency) / 14)
                whole = np.round(dctn(block, norm="ortho") / grid) * grid
                found = ours[0, top : top + 8, left : left + 8]
                np.testing.assert_allclose(found, idctn(whole, norm="ortho"), atol=1e-5)


# All together.


def test_nothing_happens_by_default():
    images, mesh, before = noise(2, 3, SIZE, SIZE), faces(2), torch.random.get_rng_state()
    same, points = augmented(images, mesh, Augmentation())
    assert torch.equal(same, images)
    assert torch.equal(points, mesh)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("how", [Augmentation.strong(), Augmentation.mild(), Augmentation.placed()])
def test_each_picture_its_own_and_repeatable(how):
    images, mesh = noise(1, 3, SIZE, SIZE).expand(6, -1, -1, -1), faces().expand(6, -1, -1)
    first, again, other = (augmented(images, mesh, how, rng=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for ours, theirs in zip(first, other, strict=True):
        assert (ours - theirs).flatten(1).abs().amax(1).min() > 0.01
        assert (ours[0] - ours[1:]).flatten(1).abs().amax(1).min() > 0.01
    assert first[0].abs().max() <= 1
    assert first[1].shape == (6, MESH_POINTS, 3)
    torch.manual_seed(0)
    drawn = augmented(images, mesh, how)[0]
    torch.manual_seed(0)
    assert torch.equal(augmented(images, mesh, how)[0], drawn)


def test_how_far_things_move():
    how, mesh = Augmentation(rotation_deg=10, zoom=0.1, shift=0.05), faces().expand(200, -1, -1)
    points = augmented(noise(1, 3, SIZE, SIZE).expand(200, -1, -1, -1), mesh, how, rng=torch.Generator())[1]
    eyes, before = points[:, 263] - points[:, 33], mesh[0, 263] - mesh[0, 33]
    scale = eyes[:, :2].norm(dim=1) / before[:2].norm()
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1
    angle = torch.rad2deg(torch.atan2(eyes[:, 1], eyes[:, 0]))
    assert angle.abs().max() <= 10
    assert angle.min() < -8
    assert angle.max() > 8
    torch.testing.assert_close(points[..., 2], scale[:, None] * mesh[..., 2])


@pytest.mark.parametrize(
    "change", [{"occluders": 2}, {"light": 0.3}, {"blur": 1.0}, {"coarse": 1.0}, {"blocks": 1.0}, {"noise": 0.2}]
)
def test_what_leaves_landmarks_alone(change):
    images, mesh = noise(8, 3, SIZE, SIZE), faces(8)
    images = 0.9 * blurred(images, torch.full((8,), 1.5))
    changed, points = augmented(images, mesh, Augmentation(**change), rng=torch.Generator().manual_seed(0))
    assert torch.equal(points, mesh)
    off = (changed - images).abs().mean((1, 2, 3))
    assert off.max() > 0.005
    assert off.max() < 0.5
    if "occluders" in change:
        covered = (changed != images).any(dim=1).float().mean((1, 2))
        assert 0.05 < covered.max() < 0.7
        assert (covered == 0).any()


def test_grey_pictures_have_no_colour():
    changed, _ = augmented(noise(2, 3, SIZE, SIZE), faces(2), Augmentation(grey=1.0, light=0.2))
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    coloured, _ = augmented(changed, faces(2), Augmentation(colour=0.3))
    assert (coloured[:, 0] - coloured[:, 1]).abs().max() > 0.02


def test_settings_are_checked():
    with pytest.raises(ValidationError):
        Augmentation(mirror=2)
    with pytest.raises(ValidationError):
        Augmentation(zoom=1)
    assert Augmentation.model_validate_json(Augmentation.strong().model_dump_json()) == Augmentation.strong()
