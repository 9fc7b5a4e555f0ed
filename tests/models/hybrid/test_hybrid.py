"""The hybrid: what is drawn, of whom, and how it learns."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from factories import posed
from reenactor.core import CheckpointError, DriverFrame, MapKind, PairBatch, TargetSet
from reenactor.face.geometry import mean_face, turned
from reenactor.face.geometry.contours import LEFT_EYE, OUTER_LIPS, OUTER_LIPS_UPPER, RIGHT_EYE
from reenactor.face.geometry.mouth import draw_mouth, mouth_inside
from reenactor.face.maps import draw_maps
from reenactor.models.contract import to_uint8
from reenactor.models.hybrid import Hybrid, HybridConfig, HybridGenerator, HybridObjective, HybridObjectiveConfig
from reenactor.models.hybrid.discriminator import FeatureDiscriminator, face_crops, part_crops
from reenactor.models.hybrid.model import in_bytes
from reenactor.models.hybrid.objective import around, charbonnier
from reenactor.models.registry import METHODS, create_model, model_of
from reenactor.models.sizes import model_size
from reenactor.nn import resized
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, shipped_checkpoint, write_checkpoint
from reenactor.nn.losses.efficientnet import efficientnet_lite, feature_distance

SIZE = 128
RASTER = MapKind.IRIS_RASTER
SMALL = HybridConfig(resolution=64, base_width=16)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(count, seed=0, size=SIZE):
    return F.interpolate(noise(count, 3, 8, 8, seed=seed), (size, size), mode="bicubic").clamp(-1, 1)


def faces(count, *, lips=0.0, seed=0, size=SIZE):
    """Mean faces, jaws dropped by `lips` eye distances."""
    points = torch.tensor(mean_face().points.copy()).float()
    below = points[:, 1] > points[[13, 14], 1].mean()
    points[:, 1] += lips * below * (1.3 - points[:, 0].abs() / 0.4).clamp(0, 1)
    points = points + 0.01 * noise(count, 1, 3, seed=seed)
    return (points * (0.3 * size) + torch.tensor([size / 2, size / 2, 0.0])).float()


def pairs(count=2, k=2, seed=0, size=SIZE, lips=0.12):
    driver, photos = faces(count, lips=lips, seed=seed, size=size), faces(count * k, seed=seed + 1, size=size)
    kinds = (RASTER, MapKind.HULL_MASK)
    return PairBatch(
        targets=smooth(count * k, seed + 2, size).unflatten(0, (count, k)),
        target_mesh=photos.unflatten(0, (count, k)),
        target_maps={RASTER: draw_maps((RASTER,), photos, size)[RASTER].unflatten(0, (count, k))},
        truth=smooth(count, seed + 3, size),
        driver_mesh=driver,
        driver_maps=draw_maps(kinds, driver, size),
        mask=torch.ones(count, 1, size, size),
        identity=torch.arange(count),
    )


def generator(config=SMALL, *, stirred=True):
    torch.manual_seed(0)
    network = HybridGenerator(config).eval()
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters() if stirred else ():
            p.add_(0.05 * torch.randn(p.shape, generator=source))
    return network


@torch.no_grad()
def drawn(network, batch, people=slice(None)):
    given = batch.targets[people], batch.target_maps[RASTER][people], batch.target_mesh[people]
    return network(batch.driver_maps[RASTER], batch.driver_mesh, *given)


def objective(**changes):
    torch.manual_seed(0)
    return HybridObjective(HybridObjectiveConfig(model=SMALL, **changes)).train()


# What is drawn.


def test_before_training_it_is_the_warp_with_the_classical_mouth_in_holes():
    config = SMALL.model_copy(update={"resolution": 128})
    network, batch = generator(config, stirred=False), pairs(k=1, lips=0.9)
    result = drawn(network, batch)
    holes = result.holes
    seen = (holes == 0).expand_as(result.image)
    assert not result.flow_ndc.any()
    assert 0.002 < holes.mean() < 0.1
    # A twentieth of the detail is gone, no more; the mesh warp itself is bilinear.
    assert (result.image - result.warped)[seen].abs().max() < 0.06
    assert (result.warped - result.mesh_warped)[seen].abs().mean() < 0.03
    hole = (holes > 0.99)[:, 0]
    assert hole.any()
    for i in range(2):
        inside = mouth_inside(to_uint8(batch.targets[i, 0]), batch.target_mesh[i, 0].numpy())
        drawn_there = np.zeros((SIZE, SIZE, 3), np.uint8)
        draw_mouth(drawn_there, inside, batch.driver_mesh[i].numpy(), lips_meet=inside.lips_meet)
        middle = hole[i].numpy() & (cv2.erode(drawn_there.max(-1), np.ones((9, 9))) > 0)
        assert middle.sum() > 20
        shown = result.warped[i].permute(1, 2, 0).numpy()[middle]
        assert np.abs(shown - (drawn_there[middle] / 127.5 - 1)).max() < 0.02


@pytest.mark.parametrize("size", [96, 256])
def test_the_mouth_is_filled_at_the_photos_own_size(size):
    """A grey photo's mouth is grey; at twice the size, it is the same mouth."""
    network, batch = generator(stirred=False), pairs(count=1, k=1, lips=0.9, size=size)
    grey = batch.targets.mean(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    with torch.no_grad():
        for targets in (batch.targets, grey):
            code = network.encode(targets, batch.target_maps[RASTER], batch.target_mesh)
            small, large = network.fills(code, batch.driver_mesh)
            assert small.shape[-1] == SMALL.resolution
            assert large.shape[-1] == size
            chroma = (large - large.mean(1, keepdim=True)).abs().amax()
            assert chroma < 1e-6 if targets is grey else chroma > 0.1
            assert (resized(large, SMALL.resolution) - small).abs().mean() < 0.01
            assert (large - large[..., :1, :1]).abs().amax() > 0.1


def test_a_grey_photo_stays_grey():
    network, batch = generator(), pairs(lips=0.5)
    grey = dataclasses.replace(batch, targets=batch.targets.mean(2, keepdim=True).expand(-1, -1, 3, -1, -1))
    for one, least, most in ((batch, 0.02, 9), (grey, 0, 1e-5)):
        result = drawn(network, one)
        chroma = (result.image - result.image.mean(1, keepdim=True)).abs().amax()
        assert least <= chroma <= most
        assert result.holes.max() > 0.3


def test_people_are_drawn_alone_as_together():
    network, batch = generator(), pairs(count=3)
    together = drawn(network, batch).image
    for i in range(3):
        one = dataclasses.replace(
            batch,
            driver_mesh=batch.driver_mesh[i : i + 1],
            driver_maps={RASTER: batch.driver_maps[RASTER][i : i + 1]},
        )
        torch.testing.assert_close(drawn(network, one, slice(i, i + 1)).image, together[i : i + 1], atol=1e-4, rtol=0)


def test_one_person_drives_any_number_of_frames():
    network, batch = generator(), pairs(count=3)
    with torch.no_grad():
        code = network.encode(batch.targets[:1], batch.target_maps[RASTER][:1], batch.target_mesh[:1])
        together = network.decode(code, batch.driver_maps[RASTER], batch.driver_mesh).image
        for i in range(3):
            one = network.decode(code, batch.driver_maps[RASTER][i : i + 1], batch.driver_mesh[i : i + 1]).image
            torch.testing.assert_close(one, together[i : i + 1], atol=1e-4, rtol=0)
        code = network.encode(batch.targets, batch.target_maps[RASTER], batch.target_mesh)
        with pytest.raises(ValueError, match="2 driver frames for the codes of 3 people"):
            network.decode(code, batch.driver_maps[RASTER][:2], batch.driver_mesh[:2])


def test_every_photo_is_used():
    network, batch = generator(), pairs(k=3)
    plain = drawn(network, batch).image
    for i in range(3):
        targets = batch.targets.clone()
        targets[:, i] = smooth(2, 7)
        assert (drawn(network, dataclasses.replace(batch, targets=targets)).image - plain).abs().mean() > 1e-3


def test_the_mirrored_photo_shows_what_the_photo_hides():
    """Of a photo that is turned to the side, the mirrored one gives the other cheek of a face that looks ahead."""
    network, batch = generator(stirred=False), pairs(count=1, k=1)
    ahead = faces(1)
    side = turned(ahead[0].numpy(), np.array([45.0, 0.0, 0.0])).astype(np.float32)
    rasters = draw_maps((RASTER,), torch.from_numpy(side)[None], SIZE)[RASTER][None]
    with torch.no_grad():
        code = network.encode(batch.targets, rasters, torch.from_numpy(side)[None, None])
        assert torch.equal(code.photos[:, 1], code.photos[:, 0].flip(3))
        raster = draw_maps((RASTER,), ahead, SIZE)[RASTER]
        own, mirrored = network.decode(code, raster, ahead).weights[0]
        far, near = (ahead[0, vertex, :2].mul(64 / SIZE).long().tolist() for vertex in (346, 117))
        if own[near[1], near[0]] < own[far[1], far[0]]:
            far, near = near, far
        assert mirrored[far[1], far[0]] > 0.5
        assert own[near[1], near[0]] > 0.9
        # A face that looks ahead needs no other; beside one that needs it, its own has no weight.
        ahead_code = network.encode(batch.targets, raster[None], ahead[None])
        assert ahead_code.origins == (0,)
        both = torch.stack([torch.from_numpy(side), ahead[0]])[:, None]
        codes = network.encode(batch.targets.expand(2, -1, -1, -1, -1), raster[None].expand(2, -1, -1, -1, -1), both)
        assert codes.origins == (0, 0)
        assert network.decode(codes, raster.expand(2, -1, -1, -1), ahead.expand(2, -1, -1)).weights[1, 1].max() == 0
        plain = generator(SMALL.model_copy(update={"mirror": False}))
        assert plain.encode(batch.targets, rasters, batch.target_mesh).photos.shape[1] == 1


@pytest.mark.parametrize("size", [64, 96, 160])
def test_photos_of_any_size(size):
    network, batch = generator(), pairs(k=1, size=size)
    assert drawn(network, batch).image.shape == (2, 3, size, size)


def test_large_photos_keep_their_own_pixels():
    """A checkerboard of single pixels, which the network's resolution cannot hold."""
    batch = pairs(count=1, k=1, size=256)
    board = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 1.6 - 0.8
    same = {"driver_mesh": batch.target_mesh[:, 0], "driver_maps": {RASTER: batch.target_maps[RASTER][:, 0]}}
    network = generator(SMALL.model_copy(update={"mirror": False}), stirred=False)
    image = drawn(network, dataclasses.replace(batch, targets=board.expand(1, 1, 3, -1, -1), **same)).image[0]
    # A twentieth of the detail is gone before training.
    torch.testing.assert_close(image, 0.95 * board.expand(3, -1, -1), atol=0.03, rtol=0)


def test_a_result_at_twice_the_size_is_the_same_picture():
    network, small = generator(), pairs(k=1, size=64)
    large = dataclasses.replace(
        small,
        targets=F.interpolate(small.targets[:, 0], scale_factor=2.0, mode="bicubic", align_corners=False)[:, None],
        target_mesh=(small.target_mesh + 0.5) * 2 - 0.5,
        driver_mesh=(small.driver_mesh + 0.5) * 2 - 0.5,
    )
    # What an unlearned network paints has single pixels, which enlarging softens.
    one, two = (resized(drawn(network, batch).image, 8) for batch in (small, large))
    assert (one - two).abs().max() < 0.05


def test_what_is_taken_is_all_but_holes():
    """Mirrored photos count as the photos that they were made of."""
    network, batch = generator(SMALL.model_copy(update={"mirror_from_degrees": 0.0})), pairs(lips=0.9)
    given = batch.targets, batch.target_maps[RASTER], batch.target_mesh
    with torch.inference_mode():
        code = network.encode(*given)
        taken = network.taken(code, batch.driver_maps[RASTER], batch.driver_mesh)
    assert code.photos.shape[1] == 4
    assert taken.shape == (2, 2, 64, 64)
    holes = drawn(network, batch).holes
    assert holes.max() > 0.3
    torch.testing.assert_close(taken.sum((1, 2, 3)), 1 - holes.mean((1, 2, 3)))
    assert all(p.grad is None for p in network.parameters())


def facing(yaw):
    return torch.from_numpy(posed(mean_face().points, (yaw, 0, 0), scale=0.3 * SIZE, at=(64, 64)))


@pytest.fixture(scope="module")
def person():
    """A network, and the code of six photos of a head that turns further and further."""
    network = generator(SMALL)
    mesh = torch.stack([facing(yaw) for yaw in (0.0, -14.0, -7.0, 7.0, 14.0, 12.0)])[None]
    rasters = draw_maps((RASTER,), mesh[0], SIZE)[RASTER][None]
    with torch.inference_mode():
        # One scene, which other photos may replace around the face.
        return network, network.encode(smooth(1).expand(1, 6, 3, SIZE, SIZE), rasters, mesh)


@torch.inference_mode()
def looking(person, yaw):
    network, code = person
    mesh = facing(yaw)[None]
    return network.decode(code, draw_maps((RASTER,), mesh, SIZE)[RASTER], mesh)


class TestMorePhotosThanAFrameTakes:
    """Of six, each frame is drawn from three."""

    def test_the_first_and_the_likest(self, person):
        network, code = person
        chosen, index = network.nearest(code, torch.stack([facing(yaw) for yaw in (13.5, -8.0)]))
        assert index.tolist() == [[0, 4, 5], [0, 2, 1]]
        assert torch.equal(chosen.mesh_px[1, 2], code.mesh_px[0, 1])
        assert chosen.unlike[0, 1] < chosen.unlike[0, 2] < chosen.unlike[0, 0]

    def test_the_likest_counts_most(self, person):
        share = looking(person, 14.0).weights.mean((0, 2, 3))
        assert share.argmax() == 1
        assert looking(person, 0.0).weights.mean((0, 2, 3)).argmax() == 0

    @pytest.mark.parametrize(("likeness", "yaw"), [(2.0, 2.5), (8.0, 7.625)])
    def test_nothing_jumps_where_another_photo_comes_or_one_is_left_out(self, person, likeness, yaw):
        network = generator(SMALL.model_copy(update={"likeness": likeness}))
        chosen = [network.nearest(person[1], facing(yaw + by)[None])[1].tolist() for by in (-0.1, 0.1)]
        assert chosen[0] != chosen[1]
        images = torch.stack([looking((network, person[1]), yaw + by).image for by in np.arange(-0.1, 0.1, 0.02)])
        changes = images.diff(dim=0).abs().mean((1, 2, 3, 4))  # single pixels change at edges of triangles
        assert changes.max() < 4 * changes.median()

    def test_photos_of_eight_bits_are_kept_in_as_many(self, person):
        network, code = person
        whole = dataclasses.replace(code, photos=(code.photos.add(1) * 127.5).round() / 127.5 - 1)
        kept = in_bytes(whole)
        assert kept.photos.dtype == torch.uint8
        raster = draw_maps((RASTER,), facing(9.0)[None], SIZE)[RASTER]
        with torch.inference_mode():
            ours, theirs = (network.decode(one, raster, facing(9.0)[None]).image for one in (kept, whole))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    def test_taken_from_all(self, person):
        network, code = person
        mesh = facing(14.0)[None]
        taken = network.taken(code, draw_maps((RASTER,), mesh, SIZE)[RASTER], mesh)[0].sum((1, 2))
        assert taken.shape == (6,)
        assert taken.argmax() == 4
        assert taken[[1, 2, 3]].max() == 0

    def test_one_photo_is_as_ever(self):
        network, batch = generator(SMALL), pairs(count=2, k=1)
        changed = generator(SMALL.model_copy(update={"likeness": 0.0, "photos_a_frame": 2}))
        torch.testing.assert_close(drawn(network, batch).image, drawn(changed, batch).image)

    def test_around_the_face_only_photos_of_the_same_scene_replace_the_first(self):
        network = generator(SMALL)
        mesh = torch.stack([facing(0.0), facing(14.0), facing(14.0)])[None]
        rasters = draw_maps((RASTER,), mesh[0], SIZE)[RASTER][None]
        one, other = smooth(1, 3)[0], smooth(1, 4)[0]
        driver = facing(14.0)[None]
        shares = []
        with torch.inference_mode():
            for photos in ([one, one, other], [one, other, one], [one, other, other]):
                code = network.encode(torch.stack(photos)[None], rasters, mesh)
                assert (code.same_scene[0] > 0.5).tolist() == [photo is one for photo in photos]
                drawing = network.decode(code, draw_maps((RASTER,), driver, SIZE)[RASTER], driver)
                shares.append(drawing.weights[0, :, 2, 2])
        assert [share.argmax() for share in shares] == [1, 2, 0]

    def test_around_the_face_counts_where_the_head_is(self):
        network = generator(SMALL)
        beside = facing(0.0) + torch.tensor([8.0, 0, 0])
        mesh = torch.stack([facing(0.0), beside])[None]
        rasters = draw_maps((RASTER,), mesh[0], SIZE)[RASTER][None]
        with torch.inference_mode():
            code = network.encode(smooth(1, 3).expand(1, 2, 3, SIZE, SIZE), rasters, mesh)
            for driver, likest in ((facing(0.0), 0), (beside, 1)):
                drawing = network.decode(code, draw_maps((RASTER,), driver[None], SIZE)[RASTER], driver[None])
                assert drawing.weights[0, :, 2, 2].argmax() == likest

    def test_a_side_that_another_photo_shows_is_not_mirrored(self):
        network = generator(SMALL)
        for yaws, origins in (((20.0, 3.0), (0, 1, 0)), ((20.0, -9.0), (0, 1)), ((20.0, -16.0), (0, 1))):
            assert network.mirrored(torch.stack([facing(yaw) for yaw in yaws])[None])[0] == origins


def test_overshoot_is_cut_off():
    model, batch = Hybrid(SMALL).eval(), pairs(count=1, k=1)
    torch.nn.init.constant_(model.generator.head.conv2.bias, 5)
    targets = {kind: maps[0] for kind, maps in batch.target_maps.items()}
    with torch.no_grad():
        code = model.encode_target(TargetSet(batch.targets[0], batch.target_mesh[0].numpy(), targets))
        image = model.synthesize(code, DriverFrame(batch.driver_mesh.numpy(), batch.driver_maps))
    assert image.min() == image.max() == 1


def test_small_enough_for_a_cpu():
    size = model_size(Hybrid, HybridConfig())
    assert size.resolution == 256
    assert size.parameters < 1.9e6
    assert size.encode_flop < 1.4e9
    assert size.frame_flop < 2.4e9


@pytest.mark.parametrize("wrong", [{"resolution": 100}, {"resolution": 32}, {"base_width": 24}, {"mouth": 96}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"multiple|greater|Extra"):
        HybridConfig(**wrong)


# How it learns.


def test_terms():
    net, batch = objective(), pairs(k=1)
    batch.mask[:, :, :20] = 0
    with torch.no_grad():
        step = net.generator_step(batch)
        image = batch.mask * drawn(net.G, batch).image + (1 - batch.mask) * batch.truth
        boxes = [around(batch.driver_mesh, part, SIZE) for part in (OUTER_LIPS, RIGHT_EYE, LEFT_EYE)]
        weights = 1 + 3 * torch.maximum(boxes[0], torch.maximum(boxes[1], boxes[2]))
        torch.testing.assert_close(step.parts["pixel"], charbonnier(image, batch.truth, batch.mask * weights))
        true, ours = (features(one, batch.driver_mesh) for one in (batch.truth, image))
        torch.testing.assert_close(step.drawn, (true, ours), atol=1e-4, rtol=1e-3)
        scores = net.D(ours, true)
        torch.testing.assert_close(step.parts["gan"], -sum(one.mean() for one in scores), atol=1e-4, rtol=1e-4)
        half = net.discriminator_step(batch, step.drawn)
        hinge = sum(
            (1 - r).relu().mean() + (1 + f).relu().mean() for r, f in zip(net.D(true, true), scores, strict=True)
        )
        torch.testing.assert_close(half.loss, hinge, atol=1e-4, rtol=1e-4)
        whole = feature_distance(ours[:4], true[:4])
        face = feature_distance(ours[4:8], true[4:8], face_crops(weights, batch.driver_mesh))
        torch.testing.assert_close(step.parts["perceptual"], (whole + face).mean(), atol=1e-4, rtol=1e-3)
    total = sum(getattr(net.config, name) * value for name, value in step.parts.items())
    torch.testing.assert_close(step.loss, total)


def features(pictures, mesh):
    """Of the picture at half its size, of the face, of mouth and eyes."""
    network = efficientnet_lite("lite0", (0, 1, 2, 4))
    half = pictures.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))
    return (
        *network(half),
        *network(face_crops(pictures, mesh)),
        *network(part_crops(pictures, mesh, 64).flatten(0, 1)),
    )


def test_charbonnier_is_a_weighted_mean():
    ours, theirs, weights = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1), noise(2, 1, 4, 4, seed=2).abs()
    each = (((ours - theirs) ** 2 + 0.05**2) ** 0.5 - 0.05).mean(1)
    wanted = torch.stack([(e * w[0]).sum() / w.sum() for e, w in zip(each, weights, strict=True)]).mean()
    torch.testing.assert_close(charbonnier(ours, theirs, weights), wanted)
    assert charbonnier(ours, theirs, torch.zeros_like(weights)) == 0


def test_each_half_teaches_its_own_network():
    net, batch = objective(), pairs()
    step = net.generator_step(batch)
    step.loss.backward()
    assert all(p.grad is not None for p in net.G.parameters())
    assert all(p.grad is None for p in net.D.parameters())
    net.zero_grad()
    net.discriminator_step(batch, step.drawn).loss.backward()
    assert all(p.grad is None for p in net.G.parameters())
    assert all(p.grad is not None for p in net.D.parameters())


def test_without_its_loss_there_is_no_discriminator():
    net, batch = objective(gan=0), pairs()
    step = net.generator_step(batch)
    step.loss.backward()
    assert net.discriminator is None
    assert set(step.parts) == {"pixel", "smooth", "perceptual"}
    assert all(p.grad is not None for p in net.parameters())


def test_outside_of_the_mask_nothing_is_compared():
    net, batch = objective(), pairs(k=1)
    batch.mask[1] = 0
    step = net.generator_step(batch)
    for true, ours in zip(*step.drawn, strict=True):
        torch.testing.assert_close(ours[-len(ours) // 2 :], true[-len(true) // 2 :], atol=1e-4, rtol=1e-3)
    other = dataclasses.replace(batch, truth=torch.cat([batch.truth[:1], smooth(1, 9)]))
    torch.testing.assert_close(net.generator_step(other).parts["pixel"], step.parts["pixel"])


def test_the_face_is_cut_out_at_whole_pixels():
    mesh = faces(2)
    x = torch.arange(SIZE).expand(2, 1, SIZE, SIZE).float()
    crops = face_crops(torch.cat([x, x.mT], 1), mesh)
    assert crops.shape[-1] == 80
    assert torch.equal(crops, crops.round())
    middle = (mesh[..., :2].amin(1) + mesh[..., :2].amax(1)) / 2
    assert (crops.mean((2, 3)) - middle).abs().max() < 1


def test_part_crops_follow_the_parts():
    mesh = faces(2)
    # The pictures hold their own coordinates.
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    crops = part_crops(torch.stack([x, y]).expand(2, -1, -1, -1), mesh, 32)
    assert crops.shape == (2, 3, 2, 32, 32)
    for i, part in enumerate((OUTER_LIPS_UPPER, (33, 133, 159, 145), (263, 362, 386, 374))):
        middle = crops[:, i, :, 15:17, 15:17].mean((2, 3))
        assert (middle - mesh[:, list(part), :2].mean(1)).norm(dim=1).max() < 5
    # Half the eye distance wide, level.
    eye = crops[0, 1]
    width = (mesh[0, 263] - mesh[0, 33]).norm() * 0.5
    assert float(eye[0, 0, -1] - eye[0, 0, 0]) == pytest.approx(float(width) * 31 / 32, rel=1e-3)
    assert float(eye[1, 0, -1] - eye[1, 0, 0]) == pytest.approx(0, abs=1e-3)


def test_part_crops_turn_with_the_head():
    mesh = faces(1)
    rolled = mesh.clone()
    rolled[..., 0], rolled[..., 1] = 127 - mesh[..., 1], mesh[..., 0]
    picture = smooth(1)
    quarter = torch.rot90(picture, -1, (2, 3))
    torch.testing.assert_close(part_crops(quarter, rolled, 16), part_crops(picture, mesh, 16), atol=1e-4, rtol=0)


def test_the_judge_scores_each_layer_in_its_own_units():
    torch.manual_seed(0)
    judge = FeatureDiscriminator((16, 40))
    true = noise(2, 16, 20, 20), noise(2, 40, 10, 10, seed=1)
    scores = judge(true, true)
    assert [one.shape for one in scores] == [(2, 1, 10, 10), (2, 1, 10, 10)]
    larger = tuple(100 * one for one in true)
    torch.testing.assert_close(judge(larger, larger), scores)
    assert (judge(larger, true)[0] - scores[0]).abs().mean() > 1


def test_the_judge_tells_blurred_pictures_from_sharp_ones_within_sixty_steps():
    net, batch = objective(), pairs(k=1)
    sharp = batch.truth + 0.3 * noise(*batch.truth.shape)
    true, blurred = (features(one, batch.driver_mesh) for one in (sharp, batch.truth))
    optimizer = torch.optim.Adam(net.D.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        half = net.discriminator_step(batch, (true, blurred))
        half.loss.backward()
        optimizer.step()
    assert half.parts["score_real"] > half.parts["score_fake"] + 1


def test_a_checkpoint_is_a_model_and_a_beginning(tmp_path):
    net, batch = objective(perceptual=0, gan=0), pairs(count=1, k=1)
    with torch.no_grad():
        for p in net.G.parameters():
            p.add_(0.01)
    write_checkpoint(tmp_path / "model", net.checkpoint(net.G))
    model = model_of(read_checkpoint(tmp_path / "model"))
    torch.testing.assert_close(drawn(model.generator, batch).image, drawn(net.G, batch).image)
    again = objective(perceptual=0, gan=0, init=tmp_path / "model")
    torch.testing.assert_close(again.G.state_dict(), net.G.state_dict())
    write_checkpoint(tmp_path / "other", Checkpoint("oneshot", {}, {}))
    with pytest.raises(CheckpointError, match="holds another network"):
        objective(perceptual=0, gan=0, init=tmp_path / "other")
    with pytest.raises(CheckpointError, match="holds another network"):
        HybridObjective(HybridObjectiveConfig(model=HybridConfig(), perceptual=0, gan=0, init=tmp_path / "model"))


def test_tuning_begins_with_the_model_and_the_discriminator_that_ships(tmp_path):
    model = create_model("hybrid")
    net = METHODS["hybrid"].tuned(model, {"parts": 2.0})
    torch.testing.assert_close(net.G.state_dict(), model.generator.state_dict())
    folder = shipped_checkpoint("hybrid-discriminator")
    torch.testing.assert_close(net.D.state_dict(), dict(read_checkpoint(folder).tensors))
    assert (net.config.parts, net.config.fewer_photos) == (2, False)
    with pytest.raises(CheckpointError, match="holds another network, 'hybrid-discriminator' instead of 'hybrid'"):
        HybridObjective(HybridObjectiveConfig(model=model.config, init=folder))


@pytest.mark.slow
def test_overfits():
    net, batch = objective(), pairs(count=1, k=1)
    optimizer = torch.optim.Adam(net.G.parameters(), 2e-3)
    first = net.measure(net.G, batch)
    for _ in range(60):
        optimizer.zero_grad()
        net.generator_step(batch).loss.backward()
        optimizer.step()
    last = net.measure(net.G, batch)
    assert last["psnr"] > first["psnr"] + 3
    assert last["warp_psnr"] == first["warp_psnr"]
    assert net.pictures(net.G, batch).shape == (1, 3, SIZE, 5 * SIZE)
