"""The hybrid's mouth refiner: position of the crop, and what is drawn."""

import copy
import dataclasses

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reenactor.core import MapKind, PairBatch
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import INNER_LIPS, OUTER_LIPS
from reenactor.face.geometry.mouth import draw_mouth, mouth_inside
from reenactor.face.maps import draw_maps
from reenactor.models.contract import to_uint8
from reenactor.models.hybrid import HybridConfig, HybridGenerator
from reenactor.models.hybrid.mouth import mouth_box, mouth_crop, mouth_layers, mouth_pasted, reference_mouth

SIZE, SIDE = 128, 32
RASTER = MapKind.IRIS_RASTER
CORNERS = [61, 291]
CONFIG = HybridConfig(mouth=SIDE)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(count, seed=0, size=SIZE):
    return F.interpolate(noise(count, 3, 8, 8, seed=seed), (size, size), mode="bicubic").clamp(-1, 1)


def faces(count, *, lips=0.0, roll_deg=0.0, seed=0):
    """Mean faces, jaws dropped by `lips` eye distances."""
    points = torch.tensor(mean_face().points.copy()).float()
    below = points[:, 1] > points[[13, 14], 1].mean()
    points[:, 1] += lips * below * (1.3 - points[:, 0].abs() / 0.4).clamp(0, 1)
    points = points + 0.01 * noise(count, 1, 3, seed=seed)
    turn = np.radians(roll_deg)
    across, down = points[..., 0], points[..., 1]
    points = torch.stack(
        [np.cos(turn) * across - np.sin(turn) * down, np.sin(turn) * across + np.cos(turn) * down, points[..., 2]], -1
    )
    return (points * (0.3 * SIZE) + torch.tensor([SIZE / 2, SIZE / 2, 0.0])).float()


def pairs(count=2, k=2, seed=0):
    driver, photos = faces(count, lips=0.12, seed=seed), faces(count * k, seed=seed + 1)
    return PairBatch(
        targets=smooth(count * k, seed + 2).unflatten(0, (count, k)),
        target_mesh=photos.unflatten(0, (count, k)),
        target_maps={RASTER: draw_maps((RASTER,), photos, SIZE)[RASTER].unflatten(0, (count, k))},
        truth=smooth(count, seed + 3),
        driver_mesh=driver,
        driver_maps=draw_maps((RASTER,), driver, SIZE),
        mask=torch.ones(count, 1, SIZE, SIZE),
        identity=torch.arange(count),
    )


def stir(module, seed=1):
    """As if it had learned something: heads that are not zero."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=source))
    return module


def generator(*, mouth=SIDE):
    torch.manual_seed(0)
    return stir(HybridGenerator(HybridConfig(resolution=64, base_width=8, mouth=mouth))).eval()


def drawn(network, batch, people=slice(None)):
    given = batch.targets[people], batch.target_maps[RASTER][people], batch.target_mesh[people]
    return network(batch.driver_maps[RASTER], batch.driver_mesh, *given)


# Where it lies.


@pytest.mark.parametrize("roll_deg", [0, 25, -70])
@pytest.mark.parametrize("lips", [0.0, 0.9])
def test_crop_holds_the_lips_with_their_corners_level(lips, roll_deg):
    mesh = faces(1, lips=lips, roll_deg=roll_deg)
    x, y, right, down = mouth_box(mesh, SIZE, CONFIG)[0]
    # In the crop's own axes, from the definition: an orthogonal matrix and a scale.
    axes = torch.stack([torch.stack([right, down]), torch.stack([-down, right])])
    lips_ndc = (mesh[0, list(OUTER_LIPS), :2] + 0.5) * (2 / SIZE) - 1 - torch.stack([x, y])
    places = lips_ndc @ torch.linalg.inv(axes)
    assert places.abs().amax() == pytest.approx(1 / 1.3, abs=1e-3)
    assert (places.amin(0) + places.amax(0)).abs().max() < 1e-3
    corners = places[[OUTER_LIPS.index(number) for number in CORNERS]]
    assert corners[0, 1] == pytest.approx(float(corners[1, 1]), abs=1e-3)
    assert corners[0, 0] < corners[1, 0]


def test_crop_is_what_opencv_cuts():
    mesh, picture = faces(1, lips=0.3, roll_deg=20), smooth(1)
    place = mouth_box(mesh, SIZE, CONFIG)
    x, y, right, down = ((place[0] * SIZE / 2).numpy()).astype(np.float64)
    centre = np.array([x, y]) + SIZE / 2 - 0.5
    across, below = np.array([right, down]) * 2 / SIDE, np.array([-down, right]) * 2 / SIDE
    start = centre - (across + below) * (SIDE - 1) / 2
    matrix = np.column_stack([across, below, start])
    wanted = cv2.warpAffine(
        picture[0].permute(1, 2, 0).numpy(),
        matrix,
        (SIDE, SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    found = mouth_crop(picture, place, SIDE)[0].permute(1, 2, 0).numpy()
    # OpenCV rounds places to a 32nd of a pixel.
    assert np.abs(found - wanted).max() < 0.02


def test_pasted_is_the_way_back():
    mesh, picture = faces(2, lips=0.3, roll_deg=-30), smooth(2)
    place = mouth_box(mesh, SIZE, CONFIG)
    again = mouth_pasted(mouth_crop(picture, place, 128), place, SIZE)
    covered = mouth_pasted(torch.ones(2, 1, 128, 128), place, SIZE)
    inside = (covered > 0.999).expand_as(again)
    assert (again - picture)[inside].abs().max() < 0.02
    assert (again[(covered == 0).expand_as(again)] == 0).all()
    lips = mesh[0, list(OUTER_LIPS), :2].round().long()
    assert covered[0, 0, lips[:, 1], lips[:, 0]].min() > 0.999
    assert 0.02 < (covered > 0).float().mean() < 0.25


def test_classical_mouth_is_that_of_the_warp():
    photo, mesh, wanted = smooth(1)[0], faces(1)[0], faces(1, lips=0.5)
    person = reference_mouth(photo[None], draw_maps((RASTER,), mesh[None], SIZE)[RASTER], mesh[None], CONFIG)
    place = mouth_box(wanted, SIZE, CONFIG)
    layer = mouth_layers([person], wanted, place, SIZE, 128)
    base = mouth_crop(photo[None], place, 128)
    ours = base + layer[:, 3:] * (layer[:, :3] - base)
    picture = to_uint8(photo).copy()
    inside = mouth_inside(to_uint8(photo), mesh.numpy())
    draw_mouth(picture, inside, wanted[0].numpy(), lips_meet=inside.lips_meet)
    theirs = mouth_crop(torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1, place, 128)
    # Drawn larger, its edges are sharper.
    assert (ours - theirs).abs().mean() < 0.02
    assert (base - theirs).abs().mean() > 0.05


def test_of_several_photos_the_one_that_shows_teeth():
    photos, meshes = smooth(3), torch.cat([faces(1), faces(1, lips=0.6), faces(1)])
    rasters = draw_maps((RASTER,), meshes, SIZE)[RASTER]
    person = reference_mouth(photos, rasters, meshes, CONFIG)
    place = mouth_box(meshes[1:2], SIZE, CONFIG)
    assert torch.equal(person.photo, mouth_crop(photos[1:2], place, SIDE)[0])
    assert torch.equal(person.raster, mouth_crop(rasters[1:2], place, SIDE)[0])
    assert person.inside.shows
    closed = mouth_inside(to_uint8(photos[0]), meshes[0].numpy())
    assert person.lips_meet == closed.lips_meet > 0


# What is drawn.


def test_before_training_the_classical_mouth_lies_over_what_the_rest_draws():
    network, batch = generator(), pairs(k=1)
    torch.nn.init.zeros_(network.mouth.out[-1].weight)
    torch.nn.init.zeros_(network.mouth.out[-1].bias)
    rest = generator(mouth=0)
    rest.load_state_dict({n: t for n, t in network.state_dict().items() if not n.startswith("mouth.")})
    with torch.no_grad():
        ours, theirs = drawn(network, batch).image, drawn(rest, batch).image
    changed = (ours - theirs).abs().amax(1)
    for i, mesh in enumerate(batch.driver_mesh.numpy()):
        lips = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(lips, [np.round(mesh[list(INNER_LIPS), :2]).astype(np.int32)], (1,))
        near = cv2.dilate(lips, np.ones((9, 9), np.uint8)) > 0
        assert changed[i][~torch.from_numpy(near)].max() == 0
        assert changed[i][torch.from_numpy(cv2.erode(lips, np.ones((3, 3), np.uint8)) > 0)].mean() > 0.1


def test_mouths_that_shout_are_classical():
    network = generator()
    batch = pairs(k=1)
    driver = faces(2, lips=1.2)
    batch = dataclasses.replace(batch, driver_mesh=driver, driver_maps=draw_maps((RASTER,), driver, SIZE))
    plain = copy.deepcopy(network)
    torch.nn.init.zeros_(plain.mouth.out[-1].weight)
    torch.nn.init.zeros_(plain.mouth.out[-1].bias)
    with torch.no_grad():
        torch.testing.assert_close(drawn(network, batch).image, drawn(plain, batch).image)


def test_only_the_mouth_changes():
    network, batch = generator(), pairs()
    rest = generator(mouth=0)
    rest.load_state_dict({n: t for n, t in network.state_dict().items() if not n.startswith("mouth.")})
    with torch.no_grad():
        ours, theirs = drawn(network, batch), drawn(rest, batch)
    changed = (ours.image - theirs.image).abs().amax(1, keepdim=True)
    covered = mouth_pasted(torch.ones(2, 1, SIDE, SIDE), mouth_box(batch.driver_mesh, SIZE, CONFIG), SIZE)
    assert changed[covered > 0.5].mean() > 0.01
    assert changed[covered == 0].max() == 0
    assert torch.equal(ours.mask, theirs.mask)


def test_one_person_drives_any_number_of_frames():
    network, batch = generator(), pairs(count=3, k=1)
    with torch.no_grad():
        together = drawn(network, batch, slice(1))
        for i in range(3):
            one = dataclasses.replace(
                batch,
                driver_mesh=batch.driver_mesh[i : i + 1],
                driver_maps={RASTER: batch.driver_maps[RASTER][i : i + 1]},
            )
            torch.testing.assert_close(drawn(network, one, slice(1)).image, together.image[i : i + 1])
