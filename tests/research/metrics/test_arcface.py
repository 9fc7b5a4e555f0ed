"""ArcFace files: alignment against scikit-image, embeddings of a network whose arithmetic is known, and bad files."""

import hashlib

import numpy as np
import pytest
from onnx import helper
from skimage.data import astronaut
from skimage.transform import SimilarityTransform, warp

from factories import posed
from onnx_files import WEIGHTS, embedded, write_network
from reenactor.core import Landmarks, ReenactError
from reenactor.face.geometry import mean_face
from reenactor.research.metrics import ArcFaceEmbedder, arcface_chip, read_arcface

INSIGHTFACE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]


@pytest.fixture
def face():
    return Landmarks(posed(mean_face().points, (5, -4, 12), scale=75.0))


def skimage_chip(image, face):
    """By another fit and another sampling."""
    points = face.ibug68[:, :2].astype(float)
    five = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    place = SimilarityTransform.from_estimate(np.array(five), np.array(INSIGHTFACE))
    return warp(image.astype(float), place.inverse, output_shape=(112, 112), order=1, mode="constant")


def test_the_chip_is_the_standard_one(face):
    image = astronaut()[:256, 100:356]
    chip = arcface_chip(image, face).astype(float)
    assert chip.shape == (112, 112, 3)
    assert np.abs(chip - skimage_chip(image, face)).mean() < 1.0
    assert np.abs(np.roll(chip, 1, axis=1) - skimage_chip(image, face)).mean() > 3


def test_eyes_nose_and_mouth_are_where_insightface_puts_them():
    face = Landmarks(posed(mean_face().points, scale=120.0))
    image = np.zeros((256, 256, 3), np.uint8)
    x, y = np.round(face.ibug68[30, :2]).astype(int)
    image[y - 3 : y + 4, x - 3 : x + 4] = 255
    rows, columns = np.nonzero(arcface_chip(image, face)[..., 0] > 127)
    assert np.hypot(columns.mean() - 56.0252, rows.mean() - 71.7366) < 4, (
        "the mean face's nose is nearly the template's"
    )


@pytest.mark.parametrize("scales", [False, True])
def test_embeddings_by_hand(tmp_path, face, scales):
    path = write_network(tmp_path / "tiny.onnx", scales=scales)
    file = read_arcface(path)
    assert (file.size, file.scales) == (4, scales)
    assert file.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.name == f"ArcFace tiny {file.digest[:12]} (one person from cosine 0.28)"
    image = astronaut()[:256, 100:356]
    flat = np.broadcast_to(np.array([200, 60, 20], np.uint8), (256, 256, 3)).copy()
    found = ArcFaceEmbedder(file).embed_batch([flat, image], [face, face])
    np.testing.assert_allclose(found[0], embedded([200, 60, 20]), atol=1e-5)
    np.testing.assert_allclose(found[1], embedded(skimage_chip(image, face).mean(axis=(0, 1))), atol=0.01)


def test_a_batch_of_one_is_enough(tmp_path, face):
    file = read_arcface(write_network(tmp_path / "one.onnx", shape=(1, 3, 112, 112)))
    flat = np.full((256, 256, 3), 80, np.uint8)
    found = ArcFaceEmbedder(file).embed_batch([flat] * 3, [face] * 3)
    np.testing.assert_allclose(found, [embedded([80, 80, 80])] * 3, atol=1e-5)
    assert ArcFaceEmbedder(file).embed_batch([], []).shape == (0, 4)


IDENTITY = [helper.make_node("Identity", ["x"], ["y"])]


BAD = {
    "small": ({"shape": ("n", 3, 64, 64)}, r"its inputs have the shapes \[\['n', 3, 64, 64\]\]"),
    "colours last": ({"shape": (1, 112, 112, 3), "nodes": IDENTITY}, "its inputs have the shapes"),
    "batch of eight": ({"shape": (8, 3, 112, 112)}, "its inputs have the shapes"),
    "a picture": ({"nodes": IDENTITY}, r"its outputs have the shapes \[\(1, 3, 112, 112\)\]"),
    "two outputs": ({"outputs": ("y", "c")}, r"its outputs have the shapes \[\(1, 4\), \(1, 3\)\]"),
    "one number": ({"weights": WEIGHTS[:, :1]}, r"its outputs have the shapes \[\(1, 1\)\]"),
    "broken": ({"weights": WEIGHTS[:2]}, "cannot be run as an ONNX file"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_networks_are_refused(tmp_path, name):
    options, said = BAD[name]
    path = write_network(tmp_path / "other.onnx", **options)
    with pytest.raises(ReenactError, match=said) as caught:
        read_arcface(path)
    assert str(caught.value).startswith(f"{path} ")
    assert "; use one whose input is (1 or any, 3, 112, 112)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_onnx_file(tmp_path):
    with pytest.raises(ReenactError, match=r"gone\.onnx does not exist; check"):
        read_arcface(tmp_path / "gone.onnx")
    with pytest.raises(ReenactError, match="is a folder; give the ONNX file"):
        read_arcface(tmp_path)
    for content in (b"these are no weights", b"PK\x03\x04" + bytes(100)):
        (tmp_path / "text.onnx").write_bytes(content)
        with pytest.raises(ReenactError, match=r"text\.onnx cannot be run as an ONNX file .*; use one whose input"):
            read_arcface(tmp_path / "text.onnx")


def test_weights_in_another_file_are_refused(tmp_path):
    """The digest would be that of the graph alone."""
    big = np.zeros((3, 400), np.float32)
    path = write_network(tmp_path / "graph.onnx", weights=big, save_as_external_data=True, size_threshold=64)
    with pytest.raises(ReenactError, match="keeps its weights in another file; save it again as one file"):
        read_arcface(path)
