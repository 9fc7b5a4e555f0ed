"""The landmark transformer against its equations in NumPy; its networks against slow twins; its objective by hand."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import batch_of, clips
from faces import EYES, LIPS, gap, shape

from factories import posed
from reenactor.core import CheckpointError, Head
from reenactor.face.geometry import contours, face_crop, fit_head, head_angles, in_mean_pose
from reenactor.face.retarget import Retargeter
from reenactor.face.retarget.transformer import (
    LandmarkTransformer,
    LandmarkTransformerConfig,
    LandmarkTransformerObjective,
    LandmarkTransformerObjectiveConfig,
    PretrainedResNet50,
    TransformerRetargeter,
    fit_statistics,
    point_set,
)
from reenactor.face.retarget.transformer.images import ResNet50Features, load_resnet50
from reenactor.nn.checkpoint import read_checkpoint, write_checkpoint

CLIPS = clips()
NUMBERS = [number for number, _ in CLIPS]
PLAIN = {"swap": 0.0, "mirror": 0.0, "noise": 0.0}


def settings(points="mesh", **changes):
    return LandmarkTransformerConfig.model_validate(
        {"points": points, "pca_bases": (3, 3, 2, 6, 4), "hidden": 16, **changes}
    )


@pytest.fixture(scope="module")
def fitted():
    return {name: fit_statistics(CLIPS, settings(name)) for name in ("mesh", "ibug68")}


@pytest.fixture(params=["mesh", "ibug68"])
def points(request):
    return request.param


def random_transformer(fitted, points="mesh", **changes):
    torch.manual_seed(0)
    made = LandmarkTransformer(settings(points, **changes), fitted[points]).eval()
    torch.nn.init.normal_(made.disentangler.mlp[-1].weight, 0, 0.5)
    return made


def projecting(fitted, points="mesh", **changes):
    """Its disentangler gives the coefficients of all of l - l_m, identity or not: a projection on the bases."""
    made = LandmarkTransformer(settings(points, hidden=0, **changes), fitted[points]).eval()
    statistics, layer = fitted[points], made.disentangler.mlp[-1]
    rows = statistics.basis.reshape(len(statistics.basis), -1) / statistics.std[:, None] * statistics.scale
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rows))
        layer.bias.zero_()
    return made


def expression_of(transformer, meshes, images=None):
    """The expression that the transformer finds in each mesh, in normalized space."""
    mean = transformer.mean.double().numpy()
    return transformer.transform(np.zeros_like(mean), meshes, images)[1] - mean


@pytest.mark.parametrize("hidden", [0, 16])
def test_mean_identity_and_expression_add_up(fitted, points, hidden):
    transformer, meshes = random_transformer(fitted, points, hidden=hidden), CLIPS[1][1][:5]
    expression = expression_of(transformer, meshes)
    assert np.abs(expression).max() > 0.01
    for mesh, one in zip(meshes, expression, strict=True):
        total = fitted[points].mean + transformer.identity(mesh[None]) + one
        np.testing.assert_allclose(total, point_set(points).normalized(mesh)[1], atol=1e-6)


def test_identity_of_several_photos_is_the_mean(fitted, points):
    transformer, meshes = random_transformer(fitted, points), CLIPS[2][1][:4]
    alone = [transformer.identity(mesh[None]) for mesh in meshes]
    np.testing.assert_allclose(transformer.identity(meshes), np.mean(alone, axis=0), atol=1e-6)


@pytest.mark.parametrize("intensity", [1.0, 1.5])
def test_result_has_the_targets_identity_and_the_drivers_expression_and_pose(fitted, points, intensity):
    transformer = projecting(fitted, points, intensity=intensity)
    target, driver = CLIPS[0][1][:2], CLIPS[3][1][:6]
    normalized = point_set(points).normalized
    basis = fitted[points].basis.reshape(len(fitted[points].basis), -1)

    def expression(shapes):
        flat = (shapes - fitted[points].mean).reshape(len(shapes), -1)
        return (intensity * flat @ basis.T @ basis).reshape(shapes.shape)

    _, shown = normalized(target)
    head, moving = normalized(driver)
    expected = head.apply((shown - expression(shown)).mean(0) + expression(moving))
    heads, shapes = transformer.transform(transformer.identity(target), driver)
    np.testing.assert_allclose(heads.apply(shapes), expected, atol=1e-3)


def test_coefficients_of_known_expressions_come_back(fitted, points):
    transformer = random_transformer(fitted, points)
    coefficients = torch.randn(7, transformer.config.bases)
    moved = transformer.expression_of(coefficients)
    torch.testing.assert_close(transformer.coefficients(moved), coefficients, atol=1e-4, rtol=1e-4)
    by_hand = np.einsum("k,knd->nd", coefficients[0].numpy() * fitted[points].std, fitted[points].basis)
    np.testing.assert_allclose(moved[0], by_hand, atol=1e-6)


def test_standardized_coefficients_have_unit_variance(fitted, points):
    transformer = random_transformer(fitted, points)
    squares = []
    for _, meshes in CLIPS:
        shapes = point_set(points).normalized(meshes)[1]
        known = torch.from_numpy(shapes - shapes.mean(0)).float()
        squares.append(transformer.coefficients(known).square().mean(0))
    torch.testing.assert_close(torch.stack(squares).mean(0), torch.ones(transformer.config.bases), atol=1e-3, rtol=0)


def test_a_checkpoint_is_all_it_takes(fitted, points, tmp_path):
    transformer, meshes = random_transformer(fitted, points, intensity=1.3), CLIPS[0][1][:3]
    write_checkpoint(tmp_path / "lt", transformer.checkpoint("card"))
    again = LandmarkTransformer.from_checkpoint(read_checkpoint(tmp_path / "lt"))
    assert not again.training
    assert again.config == transformer.config
    np.testing.assert_array_equal(expression_of(again, meshes), expression_of(transformer, meshes))
    weaker = LandmarkTransformer.from_checkpoint(read_checkpoint(tmp_path / "lt"), intensity=0.65)
    np.testing.assert_allclose(2 * expression_of(weaker, meshes), expression_of(transformer, meshes), atol=1e-6)


def test_checkpoints_of_something_else_are_refused(fitted):
    made = random_transformer(fitted).checkpoint()
    with pytest.raises(CheckpointError, match="holds 'warp', not a landmark transformer"):
        LandmarkTransformer.from_checkpoint(type(made)("warp", made.config, made.tensors))
    with pytest.raises(CheckpointError, match="does not fit its config"):
        LandmarkTransformer.from_checkpoint(type(made)(made.kind, {**made.config, "hidden": 8}, made.tensors))
    with pytest.raises(CheckpointError, match="does not fit its config"):
        LandmarkTransformer.from_checkpoint(type(made)(made.kind, {**made.config, "depth": 8}, made.tensors))


def test_checkpoints_with_bases_of_ict_facekit_are_read_if_they_use_none(fitted):
    made = random_transformer(fitted).checkpoint()
    unused, used = ({**made.config, "ict_bases": [0, 0, 0, count, 0]} for count in (0, 3))
    assert LandmarkTransformer.from_checkpoint(type(made)(made.kind, unused, made.tensors)).config == settings()
    with pytest.raises(CheckpointError, match="no longer supported"):
        LandmarkTransformer.from_checkpoint(type(made)(made.kind, used, made.tensors))


def objective(fitted, points="mesh", *, model=None, **changes):
    torch.manual_seed(0)
    config = LandmarkTransformerObjectiveConfig(model=settings(points, **(model or {})), **{**PLAIN, **changes})
    return LandmarkTransformerObjective(config, fitted[points])


def some_frames(each=4):
    numbers = [number for number in NUMBERS for _ in range(each)]
    return numbers, np.concatenate([meshes[:each] for _, meshes in CLIPS])


def coefficients_by_hand(fitted, points, number, mesh, *, mirror=False):
    statistics, set_ = fitted[points], point_set(points)
    index = list(statistics.clips).index(number)
    moved = set_.normalized(mesh)[1] - statistics.mean - statistics.identities[index]
    if mirror:
        moved = moved[set_.mirror] * np.array([-1.0, 1.0, 1.0])
    return np.einsum("nd,knd->k", moved, statistics.basis) / statistics.std


def silent(made):
    torch.nn.init.zeros_(made.transformer.disentangler.mlp[-1].weight)
    torch.nn.init.zeros_(made.transformer.disentangler.mlp[-1].bias)
    return made


@pytest.mark.parametrize("mirror", [False, True])
def test_loss_is_the_mean_squared_error_of_the_coefficients(fitted, points, mirror):
    made = silent(objective(fitted, points, mirror=float(mirror)))
    numbers, meshes = some_frames()
    expected = [coefficients_by_hand(fitted, points, n, m, mirror=mirror) for n, m in zip(numbers, meshes, strict=True)]
    step = made.generator_step(batch_of(numbers, meshes))
    assert float(step.loss.detach()) == pytest.approx(np.mean(np.square(expected)), rel=1e-3)


def test_photos_teach_nothing_themselves(fitted):
    made = silent(objective(fitted))
    numbers, meshes = some_frames()
    loss = float(made.generator_step(batch_of(numbers, meshes)).loss.detach())
    unknown = [n if i % 4 else 5000 + n for i, n in enumerate(numbers)]
    kept = [i for i in range(len(numbers)) if i % 4]
    only_known = float(made.generator_step(batch_of([numbers[i] for i in kept], meshes[kept])).loss.detach())
    assert float(made.generator_step(batch_of(unknown, meshes)).loss.detach()) == pytest.approx(only_known, rel=1e-6)
    assert only_known != pytest.approx(loss, rel=1e-3)
    none = made.generator_step(batch_of([7] * len(meshes), meshes))
    none.loss.backward()
    assert float(none.loss.detach()) == 0


def seen_by(made, batch):
    """What the disentangler is given in a step."""
    seen = []
    handle = made.transformer.disentangler.register_forward_pre_hook(lambda module, args: seen.append(args))
    step = made.generator_step(batch)
    handle.remove()
    return (*seen[0], step)


def test_expressions_change_faces(fitted):
    numbers, meshes = some_frames(each=3)
    photo = posed(shape(seed=77), angles_deg=(4, 5, 6))
    batch = batch_of([*numbers, *[5] * 6], [*meshes, *[photo] * 6])
    own, _, _ = seen_by(objective(fitted, swap=0.0), batch)
    mixed, _, _ = seen_by(objective(fitted, swap=1.0), batch)
    statistics, normalized = fitted["mesh"], point_set("mesh").normalized
    np.testing.assert_allclose(own, normalized(meshes)[1] - statistics.mean, atol=1e-5)
    index = [list(statistics.clips).index(n) for n in numbers]
    expressions = own.numpy() - statistics.identities[index]
    lent = np.concatenate([statistics.identities, (normalized(photo)[1] - statistics.mean)[None]])
    faces = mixed.numpy() - expressions
    nearest = np.abs(faces[:, None] - lent[None]).max((2, 3))
    assert nearest.min(1).max() < 1e-5
    lenders = nearest.argmin(1)
    assert len(set(lenders)) >= 3
    assert len(statistics.identities) in lenders  # the photo's
    assert (lenders != index).mean() > 0.4


def test_a_mirrored_face_is_the_face_in_the_mirrored_picture(fitted):
    from faces import mirrored

    numbers, meshes = some_frames()
    made = objective(fitted, mirror=1.0, model={"image": "resnet50", "image_size": 32})
    batch = batch_of(numbers, meshes, size=32)
    seen, images, _ = seen_by(made, batch)
    expected = np.stack([point_set("mesh").normalized(mirrored(mesh))[1] for mesh in meshes]) - fitted["mesh"].mean
    np.testing.assert_allclose(seen, expected, atol=1e-5)
    torch.testing.assert_close(images, batch.images.flip(3))


def test_noise_has_the_size_asked_for(fitted):
    numbers, meshes = some_frames()
    batch = batch_of(numbers, meshes)
    clean, _, quiet = seen_by(silent(objective(fitted)), batch)
    noisy, _, loud = seen_by(silent(objective(fitted, noise=0.03)), batch)
    assert float((noisy - clean).std()) == pytest.approx(0.03, rel=0.03)
    torch.testing.assert_close(loud.loss, quiet.loss)  # the target has no noise


@pytest.mark.parametrize("image", ["none", "resnet50"])
def test_everything_learns(fitted, image):
    made = objective(fitted, model={"image": image, "image_size": 64})
    numbers, meshes = some_frames(each=1)
    made.generator_step(batch_of(numbers, meshes, size=64 if image != "none" else 0)).loss.backward()
    assert made.generator is made.transformer
    for name, parameter in made.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_it_overfits(fitted, points):
    made = objective(fitted, points, model={"hidden": 64, "dropout": 0.0})
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    numbers, meshes = some_frames(each=8)
    batch = batch_of(numbers, meshes)
    for _ in range(150):
        optimizer.zero_grad()
        loss = made.generator_step(batch).loss
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05


def test_other_people_keep_their_faces_and_move_like_the_driver():
    """Trained on ten people; two others drive each other, each shown by one frame."""
    torch.manual_seed(0)
    everybody = clips(count=12, lengths=(40,))
    config = LandmarkTransformerObjectiveConfig(model=LandmarkTransformerConfig(hidden=0, intensity=1.0), noise=0.005)
    made = LandmarkTransformerObjective(config, fit_statistics(everybody[:10], config.model))
    numbers = np.repeat([number for number, _ in everybody[:10]], 40)
    meshes = np.concatenate([frames for _, frames in everybody[:10]])
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    for step in range(200):
        chosen = np.random.default_rng(step).choice(len(meshes), 64)
        optimizer.zero_grad()
        made.generator_step(batch_of(numbers[chosen], meshes[chosen])).loss.backward()
        optimizer.step()
    transformer = made.transformer.eval()
    (_, one), (_, other) = everybody[10:]
    for target, driver in ((one, other), (other, one)):
        normalized = point_set("mesh").normalized
        truth, own = normalized(target)[1].mean(0), normalized(driver)[1]
        ratios = []
        for frame in range(0, 40, 8):
            heads, shapes = transformer.transform(transformer.identity(target[frame][None]), driver)
            shown = normalized(heads.apply(shapes))[1]
            ratios.append(np.linalg.norm(shown.mean(0) - truth) / np.linalg.norm(own.mean(0) - truth))
            for halves in (LIPS, *EYES):
                ours, drivers = (gap(faces.transpose(1, 2, 0), halves).mean(0) for faces in (shown, own))
                assert np.corrcoef(ours, drivers)[0, 1] > 0.9
        assert np.mean(ratios) < 0.75


def test_what_it_leaves_is_what_inference_loads(fitted, tmp_path):
    made = objective(fitted)
    write_checkpoint(tmp_path / "lt", made.checkpoint(made.generator))
    again = LandmarkTransformer.from_checkpoint(read_checkpoint(tmp_path / "lt"))
    meshes = CLIPS[0][1][:3]
    np.testing.assert_array_equal(expression_of(again, meshes), expression_of(made.transformer.eval(), meshes))
    assert not {"clips", "identities"} & set(made.state_dict())


def test_pictures_are_asked_for_where_they_are_needed(fitted):
    transformer = random_transformer(fitted, image="resnet50", image_size=32)
    meshes = CLIPS[0][1][:2]
    with pytest.raises(ValueError, match="give the face crops"):
        expression_of(transformer, meshes)
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    assert np.abs(expression_of(transformer, meshes, images) - expression_of(transformer, meshes, -images)).max() > 1e-5
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3)).astype(np.uint8)
    retarget = TransformerRetargeter(transformer, meshes, meshes[0], faces)
    assert np.abs(retarget(meshes[1], faces[1]) - retarget(meshes[1], 255 - faces[1])).max() > 1e-3


def test_the_crop_is_the_one_of_training(fitted):
    """Paper A's and B's data, as `reenactor prepare` cuts it: `face_crop` with its usual size over the face."""
    transformer = random_transformer(fitted, image="resnet50", image_size=64)
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    mesh = posed(shape(), scale=40, at=(150, 140))
    expected = face_crop(mesh, size=64, picture_px=(400, 300)).cut(picture)
    np.testing.assert_array_equal(transformer.crop(picture, mesh), expected)
    # A picture that is a view of another, as a mirrored one is.
    mirrored = transformer.crop(np.ascontiguousarray(picture[:, ::-1])[:, ::-1], mesh)
    np.testing.assert_array_equal(mirrored, expected)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"set model\.image to resnet50"):
        LandmarkTransformerObjectiveConfig.model_validate({"resnet50": {"path": "weights.pth"}})


def resnet50_ref(state, x):
    """ResNet-50 in functions of PyTorch, by torchvision's names."""

    def conv_bn(x, conv, bn, stride=1, padding=0):
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var, weight, bias = (state[f"{bn}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.max_pool2d(F.relu(conv_bn(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            p = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage > 1 else 1
            h = F.relu(conv_bn(x, f"{p}.conv1", f"{p}.bn1"))
            h = F.relu(conv_bn(h, f"{p}.conv2", f"{p}.bn2", stride, 1))
            h = conv_bn(h, f"{p}.conv3", f"{p}.bn3")
            x = F.relu(h + (conv_bn(x, f"{p}.downsample.0", f"{p}.downsample.1", stride) if block == 0 else x))
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """Weights as torchvision writes them, classifier included."""
    torch.manual_seed(3)
    network = ResNet50Features()
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    return path, state


def test_resnet50_is_torchvisions(resnet_file):
    path, state = resnet_file
    network = ResNet50Features().eval()
    # torchvision's has 25,557,032 parameters, 2,049,000 of them in the classifier.
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - 2_049_000
    load_resnet50(network, PretrainedResNet50(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = resnet50_ref(state, ((image + 1) / 2 - mean) / std)
        torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)


def test_other_weights_are_refused(resnet_file, tmp_path):
    path, state = resnet_file
    network = ResNet50Features()
    with pytest.raises(CheckpointError, match="not the file that was asked for"):
        load_resnet50(network, PretrainedResNet50(path=path, sha256="0" * 64))
    torch.save({k: v for k, v in state.items() if k != "layer3.5.bn2.weight"}, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"not a ResNet-50: layer3\.5\.bn2\.weight is missing"):
        load_resnet50(network, PretrainedResNet50(path=tmp_path / "less.pth"))
    with pytest.raises(CheckpointError, match="no weights at"):
        load_resnet50(network, PretrainedResNet50(path=tmp_path / "none.pth"))


def test_pretrained_weights_are_where_training_begins(fitted, resnet_file):
    path, state = resnet_file
    made = objective(fitted, model={"image": "resnet50"}, resnet50=PretrainedResNet50(path=path))
    torch.testing.assert_close(
        made.transformer.disentangler.image.layer4[2].conv3.weight, state["layer4.2.conv3.weight"]
    )


NEUTRAL = posed(shape(seed=7), angles_deg=(4, 2, -3), scale=60, at=(300, 200), depth=10)
TARGET = posed(shape(seed=2, smile=0.05), angles_deg=(20, -8, 6), scale=70, at=(110, 140))


@pytest.mark.parametrize("pose", [{}, {"angles_deg": (15, -6, 8), "scale": 66, "at": (310, 190)}, {"at": (500, 90)}])
def test_heads_move_as_in_relative_transfer(fitted, points, pose):
    """A driver at rest, before a transformer that finds no expressions: both give the target's own shape."""
    transformer = projecting(fitted, points)
    torch.nn.init.zeros_(transformer.disentangler.mlp[-1].weight)
    driver = posed(shape(seed=7), **{"angles_deg": (4, 2, -3), "scale": 60, "at": (300, 200), **pose})
    expected = Retargeter(TARGET, NEUTRAL)(driver)
    # The 68 points see a slightly other head, around whose middle it turns.
    found, atol_px = (
        TransformerRetargeter(transformer, TARGET[None], NEUTRAL)(driver),
        0.02 if points == "mesh" else 1.0,
    )
    np.testing.assert_allclose(found, expected, atol=atol_px)


@pytest.mark.parametrize("head", Head)
def test_the_head_turns_by_as_much_as_the_drivers_or_to_its_angles(fitted, points, head):
    """Paper B denormalizes the transformed landmarks with the driver's rotation; so do 68 points on the mesh."""
    transformer = random_transformer(fitted, points)
    driver = posed(shape(seed=7, opening=0.1), angles_deg=(15, -6, 8), scale=66, at=(310, 190))
    found = TransformerRetargeter(transformer, TARGET[None], NEUTRAL, head=head)(driver)
    normalized = point_set(points).normalized
    of_driver, of_target, at_rest = (normalized(mesh)[0] for mesh in (driver, TARGET, NEUTRAL))
    wanted = of_driver.R if head is Head.ABSOLUTE else of_driver.R @ at_rest.R.T @ of_target.R
    size = of_driver.scale * of_target.scale / at_rest.scale
    shown = transformer.transform(transformer.identity(TARGET[None]), driver[None])[1][0]
    moved, expected = found[point_set(points).vertices], size * shown @ wanted.T
    np.testing.assert_allclose(np.ptp(moved - expected, axis=0), 0, atol=0.01 * size)  # lips may not cross
    assert (np.abs(head_angles(found) - head_angles(driver)).max() < 4) == (head is Head.ABSOLUTE)


def test_68_points_carry_the_whole_mesh(fitted):
    """A driver opens its mouth. A transformer that finds no expression takes that back: at the 68 and between them."""
    transformer = projecting(fitted, "ibug68")
    torch.nn.init.zeros_(transformer.disentangler.mlp[-1].weight)
    driver = posed(shape(seed=7, opening=0.2), angles_deg=(4, 2, -3), scale=60, at=(300, 200))
    found = in_mean_pose(TransformerRetargeter(transformer, TARGET[None], NEUTRAL)(driver))[1]
    own, opened = in_mean_pose(TARGET)[1], in_mean_pose(Retargeter(TARGET, NEUTRAL)(driver))[1]
    assert np.abs(gap(opened, LIPS) - gap(own, LIPS)).max() > 0.08
    assert np.abs(gap(found, LIPS) - gap(own, LIPS)).max() < 0.02
    assert np.abs(found - own).mean() < 0.3 * np.abs(opened - own).mean()


def test_the_first_photo_is_the_one_that_moves(fitted, points):
    transformer = random_transformer(fitted, points)
    other = posed(shape(seed=2), angles_deg=(-20, 5, 0), scale=120, at=(50, 60))
    expected = TransformerRetargeter(transformer, np.stack([TARGET, other]), NEUTRAL)(NEUTRAL)
    assert expected.shape == (478, 3)
    head, target_head = (point_set(points).normalized(mesh)[0] for mesh in (expected, TARGET))
    np.testing.assert_allclose(head.R, target_head.R, atol=0.1)
    np.testing.assert_allclose(head.t[:2], target_head.t[:2], atol=5)
    if points == "mesh":
        np.testing.assert_allclose(head.scale, fit_head(TARGET).scale, rtol=0.1)


def test_lips_and_lids_never_cross(fitted):
    transformer = projecting(fitted, intensity=2.0)
    narrow = posed(shape(seed=4, eyes=(0.4, 0.4), opening=-0.05))
    rest = posed(shape(seed=8, eyes=(1.5, 1.5), opening=0.1))
    retarget = TransformerRetargeter(transformer, narrow[None], rest)
    _, face = point_set("mesh").normalized(retarget(posed(shape(seed=8, eyes=(0.0, 0.0), opening=-0.1))))
    for upper, lower in (
        (contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER),
        (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
        (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
    ):
        assert (face[list(lower), 1] - face[list(upper), 1]).min() > -1e-3
