"""Identity: against dlib itself (golden values), against a numpy twin, and on photos.

`golden_identity.npz` was made with dlib 20.0.1 on `skimage.data.astronaut` (NASA, public domain):
`ibug68`, (68, 2) landmarks of the astronaut in whole pixels, as dlib has them; for each of `PICTURES` the
green channel of dlib's chip and dlib's embedding, end to end; `slices`, dlib's embeddings of `SLICES`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from skimage import data

from factories import DATA
from reenactor.core import MESH_TO_IBUG68, CheckpointError, Landmarks
from reenactor.face.perception import dlib_weights
from reenactor.face.perception.dlib_weights import (
    Affine,
    Convolution,
    DlibFaceNetwork,
    FullyConnected,
    Operation,
    find_face_network,
    load_face_network,
)
from reenactor.face.perception.identity import (
    ALIGNED_IBUG68,
    ALIGNED_POINTS_PX,
    SAME_PERSON_DISTANCE,
    IdentityEmbedder,
    face_chip,
    identity_distance,
    identity_mean,
)
from reenactor.face.perception.observe import FaceFinder

GOLDEN = np.load(Path(__file__).with_name("golden_identity.npz"))

# Top-left corners (row, column) of 150x150 pieces of the astronaut: around the face, and none.
SLICES = ((30, 150), (40, 165), (200, 0), (300, 300))
# How each picture, and the landmarks in it, come from the astronaut: whole pixels, so without interpolation.
PICTURES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "plain": lambda image, points: (image, points),
    "turned": lambda image, points: (
        np.ascontiguousarray(np.rot90(image)),
        np.column_stack([points[:, 1], image.shape[1] - 1 - points[:, 0]]),
    ),
    "enlarged": lambda image, points: (image.repeat(5, axis=0).repeat(5, axis=1), points * 5 + 2),
    "cut": lambda image, points: (np.ascontiguousarray(image[80:, 200:]), points - [200, 80]),
}
# Each aligned landmark's partner in a mirrored picture.
MIRROR = {**{i: i for i in (27, 28, 29, 30)}, **{31 + k: 35 - k for k in range(5)}}
MIRROR |= {36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46} | {45: 36, 44: 37, 43: 38, 42: 39, 47: 40, 46: 41}
MIRROR |= {48 + k: 54 - k for k in range(7)} | {60 + k: 64 - k for k in range(5)}


def as_landmarks(ibug68: np.ndarray) -> Landmarks:
    mesh = np.zeros((478, 3), np.float32)
    mesh[list(MESH_TO_IBUG68), :2] = ibug68
    return Landmarks(mesh)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads wait for each other on busy cores: 1.2 s an embedding instead of 13 ms."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network_file() -> DlibFaceNetwork:
    return load_face_network()


@pytest.fixture(scope="module")
def embedder() -> IdentityEmbedder:
    return IdentityEmbedder()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


# The file.


def test_file_says_what_dlib_documents(network_file: DlibFaceNetwork) -> None:
    assert network_file.mean_rgb == pytest.approx((122.782, 117.001, 104.298), abs=1e-5)
    assert network_file.chip_size == (150, 150)
    kinds = [type(layer) for layer in network_file.layers]
    assert kinds.count(Convolution) == kinds.count(Affine) == 29
    assert kinds.count(FullyConnected) == 1


def test_changed_or_shortened_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(find_face_network().read_bytes())
    content[10_000_000] ^= 1
    damaged = tmp_path / "damaged.dat"
    monkeypatch.setattr(dlib_weights, "find_face_network", lambda: damaged)
    for wrong in (content, content[:-1], b"<html>not found</html>"):
        damaged.write_bytes(wrong)
        with pytest.raises(CheckpointError, match=r"SHA-256 differs.*reinstall"):
            load_face_network()


def test_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlib_weights.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CheckpointError, match="face_recognition_models is not installed"):
        find_face_network()


# The network.


def forward_ref(network: DlibFaceNetwork, chip: np.ndarray) -> np.ndarray:
    """dlib's layers one by one in float64, nothing folded: (150, 150, 3) -> (128,)."""
    x = ((chip - np.array(network.mean_rgb)) / 256).transpose(2, 0, 1)
    before = shortcut = x
    for layer in network.layers:
        if isinstance(layer, Convolution):
            windows = _windows(np.pad(x, ((0, 0), *[(layer.padding,) * 2] * 2)), layer.weight.shape[2], layer.stride)
            x = np.einsum("chwij,ocij->ohw", windows, layer.weight, optimize=True) + layer.bias[:, None, None]
        elif isinstance(layer, Affine):
            x = layer.gamma[:, None, None] * x + layer.beta[:, None, None]
        elif isinstance(layer, Operation) and layer.kind == "max_pool_2":
            x = before = shortcut = _windows(x, layer.size, layer.stride).max((3, 4))
        elif isinstance(layer, Operation) and layer.size:
            shortcut = _windows(before, layer.size, layer.stride).mean((3, 4))
        elif isinstance(layer, Operation) and layer.kind == "avg_pool_2":
            x = x.mean((1, 2))
        elif isinstance(layer, FullyConnected):
            x = layer.weight @ x
        elif layer == Operation("add_prev_"):
            total = np.zeros(np.maximum(x.shape, shortcut.shape))
            for part in (x, shortcut):
                total[tuple(slice(size) for size in part.shape)] += part
            x = before = shortcut = np.maximum(total, 0)  # the relu that follows changes nothing more
        else:
            x = np.maximum(x, 0)
    return x


def _windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    windows = sliding_window_view(x, (size, size), axis=(1, 2))  # pyright: ignore
    return windows[:, ::stride, ::stride]


def test_network_equals_unfolded_twin(
    network_file: DlibFaceNetwork, embedder: IdentityEmbedder, astronaut: np.ndarray
) -> None:
    chip = astronaut[30:180, 150:300]
    assert embedder.embed_chips(chip[None])[0] == pytest.approx(forward_ref(network_file, chip), abs=2e-6)


def test_network_equals_dlib(embedder: IdentityEmbedder, astronaut: np.ndarray) -> None:
    chips = np.stack([astronaut[row : row + 150, column : column + 150] for row, column in SLICES])
    np.testing.assert_allclose(embedder.embed_chips(chips), GOLDEN["slices"], atol=2e-6)


def test_network_is_frozen_and_differentiable(embedder: IdentityEmbedder) -> None:
    chip = torch.zeros(1, 3, 150, 150, requires_grad=True)
    embedder.network(chip).square().sum().backward()
    assert chip.grad is not None
    assert chip.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in embedder.network.parameters())


# The chip.


@pytest.mark.parametrize(
    ("name", "chip_tolerance", "embedding_tolerance"),
    [("plain", 0.6, 0.01), ("turned", 0.6, 0.01), ("enlarged", 2, 0.05), ("cut", 1.5, 0.08)],
)
def test_chip_and_embedding_equal_dlib(
    name: str,
    chip_tolerance: float,
    embedding_tolerance: float,
    embedder: IdentityEmbedder,
    astronaut: np.ndarray,
) -> None:
    """Not to the bit: dlib drops fractions of grey levels (0.5 on average), its pyramid shifts a quarter
    pixel a level, and it blackens the half-covered pixels at the picture's edge.
    """
    image, points = PICTURES[name](astronaut, GOLDEN["ibug68"])
    chip = face_chip(image, as_landmarks(points))
    assert np.abs(chip[..., 1] - GOLDEN[f"chip_{name}"].astype(float)).mean() < chip_tolerance
    embedding = embedder.embed(image, as_landmarks(points))
    assert identity_distance(embedding, GOLDEN[f"embedding_{name}"]) < embedding_tolerance


def test_chip_of_aligned_face_is_the_picture_itself(astronaut: np.ndarray) -> None:
    """Landmarks at dlib's mean face: the plain fit is the identity, dlib's is half a pixel off."""
    ibug68 = np.zeros((68, 2))
    ibug68[list(ALIGNED_IBUG68)] = ALIGNED_POINTS_PX + 100
    chip = face_chip(astronaut, as_landmarks(ibug68)).astype(float)
    corners = [astronaut[100 + dy : 250 + dy, 100 + dx : 250 + dx].astype(float) for dy in (0, 1) for dx in (0, 1)]
    np.testing.assert_allclose(chip, np.mean(corners, axis=0), atol=1)


def test_chip_ignores_turning(astronaut: np.ndarray) -> None:
    plain = face_chip(astronaut, as_landmarks(GOLDEN["ibug68"])).astype(float)
    image, points = PICTURES["turned"](astronaut, GOLDEN["ibug68"])
    assert np.abs(face_chip(image, as_landmarks(points)) - plain).mean() < 0.5


def test_chip_refuses_float_pictures() -> None:
    # The second error is the run-time type checker's, where it is switched on.
    with pytest.raises((ValueError, TypeError), match=r"uint8|UInt8"):
        face_chip(np.zeros((64, 64, 3), np.float32), as_landmarks(GOLDEN["ibug68"]))  # pyright: ignore


# The embedder.


@pytest.mark.parametrize("change", ["mirrored", "brighter", "turned", "enlarged", "noisy"])
def test_same_person_after(change: str, embedder: IdentityEmbedder, astronaut: np.ndarray) -> None:
    points = GOLDEN["ibug68"].astype(float)
    rng = np.random.default_rng(0)
    image, moved = astronaut, points.copy()
    if change == "mirrored":
        image = astronaut[:, ::-1]
        moved[list(MIRROR)] = points[list(MIRROR.values())]
        moved[:, 0] = astronaut.shape[1] - 1 - moved[:, 0]
    elif change == "brighter":
        image = np.clip(astronaut * 1.4, 0, 255).astype(np.uint8)
    elif change == "noisy":
        image = np.clip(astronaut + rng.normal(0, 12, astronaut.shape), 0, 255).astype(np.uint8)
        moved += rng.normal(0, 1, moved.shape)
    else:
        image, moved = PICTURES[change](astronaut, points)
    a, b = embedder.embed(astronaut, as_landmarks(points)), embedder.embed(image, as_landmarks(moved))
    assert identity_distance(a, b) < 0.35


def test_batch_equals_loop(embedder: IdentityEmbedder, astronaut: np.ndarray) -> None:
    pictures = [change(astronaut, GOLDEN["ibug68"]) for change in PICTURES.values()]
    images, landmarks = [image for image, _ in pictures], [as_landmarks(points) for _, points in pictures]
    batch = embedder.embed_batch(images, landmarks, batch_size=3)
    loop = [embedder.embed(image, points) for image, points in zip(images, landmarks, strict=True)]
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, loop, atol=2e-6)
    assert embedder.embed_batch([], []).shape == (0, 128)


# Comparing.


def test_distance_by_hand_and_broadcast() -> None:
    a, b = np.zeros((2, 128), np.float32), np.zeros((3, 128), np.float32)
    b[:, 0], b[:, 5] = 3, 4
    assert identity_distance(a[:, None], b[None]) == pytest.approx(np.full((2, 3), 5))
    assert float(identity_distance(a[0], b[0])) == 5


def test_mean_is_what_faces_share(embedder: IdentityEmbedder, astronaut: np.ndarray) -> None:
    """The common part of all embeddings: nearly parallel to any of them, and shorter than most."""
    face, mean = embedder.embed(astronaut, as_landmarks(GOLDEN["ibug68"])), identity_mean()
    assert mean.shape == (128,)
    assert mean.dtype == np.float32
    cosine = face @ mean / np.linalg.norm(face) / np.linalg.norm(mean)
    assert 0.8 < cosine < 0.99
    assert 1.2 < np.linalg.norm(mean) < np.linalg.norm(face)


@pytest.mark.skipif(not (DATA / "manifest.csv").exists(), reason="needs the data pack")
def test_photos_of_people(embedder: IdentityEmbedder) -> None:
    """Eight people with two photos each (neutral and smiling): every pair is judged right."""
    with (DATA / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "portrait"]
    photos = defaultdict(list)
    for row in rows:
        photos[row["identity"]].append(DATA / row["file"])
    people = [(name, file) for name, files in photos.items() if len(files) == 2 for file in files][:16]
    images = [np.asarray(Image.open(file).convert("RGB")) for _, file in people]
    with FaceFinder() as finder:
        embeddings = embedder.embed_batch(images, [finder.observe(image).landmarks for image in images])
    for (i, (a, _)), (j, (b, _)) in combinations(enumerate(people), 2):
        distance = identity_distance(embeddings[i], embeddings[j])
        assert (distance < SAME_PERSON_DISTANCE) == (a == b), (a, b, float(distance))
