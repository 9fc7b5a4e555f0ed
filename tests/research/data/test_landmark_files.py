"""Landmarks from another detector's files: they are in the pack, and the rest of the mesh follows them."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from reenactor.cli.main import main
from reenactor.core import MESH_TO_IBUG68, ReenactError
from reenactor.core.landmark_codec import decode_landmarks
from reenactor.engine.shipped import demo_photo
from reenactor.face.perception import FaceFinder
from reenactor.media import VideoWriter, write_image
from reenactor.research.data import Item, Kind, Settings, Split
from reenactor.research.data.landmark_files import read_landmarks, with_landmarks
from reenactor.research.data.process import process_item

FRAMES = 24


@pytest.fixture(scope="module")
def mesh():
    with FaceFinder() as finder:
        return finder.observe(demo_photo()).landmarks.mesh


@pytest.fixture(scope="module")
def detected(mesh):
    """Another detector's: differs by a few pixels, without pattern, and has another zero of depth."""
    return mesh[list(MESH_TO_IBUG68)] + np.random.default_rng(0).normal(0, 2, (68, 3)) + [0, 0, 500]


@pytest.fixture
def data_set(tmp_path, detected):
    """Root of a photo and a clip, and the folder of their landmarks."""
    root, folder = tmp_path / "data", tmp_path / "fan3d"
    (root / "eileen").mkdir(parents=True)
    (folder / "eileen").mkdir(parents=True)
    write_image(root / "eileen" / "a.png", demo_photo())
    np.save(folder / "eileen" / "a.png.npy", detected)
    with VideoWriter(
        root / "eileen" / "b.mp4", size=(512, 512), time_base=Fraction(1, 25), rate_hint=Fraction(25)
    ) as writer:
        for i in range(FRAMES):
            writer.write(demo_photo(), i)
    points = np.tile(detected, (FRAMES, 1, 1)).astype(np.float32)
    points += np.linspace(-1, 1, FRAMES, dtype=np.float32)[:, None, None] * [1, 0, 0]
    points[5] = np.nan
    points[6, :, :2] += 200
    np.save(folder / "eileen" / "b.mp4.npy", points[:-1])
    return root, folder


def item_of(root, name, kind):
    return Item("key", kind, root / "eileen" / name, "eileen", Split.TRAIN)


def processed(data_set, name, kind):
    root, folder = data_set
    return process_item(item_of(root, name, kind), root, Settings(landmarks=folder))


def in_picture(sample):
    """Landmarks in the source's pixels, and what the sample says of itself."""
    meta = json.loads(sample.members["json"])
    crop, scale = meta["crop"], meta["crop"]["side"] / meta["size"]
    points = decode_landmarks(sample.members["landmarks"])[:, list(MESH_TO_IBUG68), :2].astype(float)
    return (points + 0.5) * scale - 0.5 + [crop["left"], crop["top"]], meta


def test_a_photo_has_the_files_landmarks(data_set, detected):
    (sample,) = processed(data_set, "a.png", Kind.PHOTO).samples
    points, _ = in_picture(sample)
    np.testing.assert_allclose(points[0], detected[:, :2], atol=0.1)


def test_a_clip_has_the_files_landmarks_frame_by_frame(data_set, detected):
    (sample,) = processed(data_set, "b.mp4", Kind.CLIP).samples
    points, meta = in_picture(sample)
    # No face, another one, and a frame beyond the file's end.
    assert meta["unseen"] == [5, 6, FRAMES - 1]
    seen = np.setdiff1d(np.arange(FRAMES), meta["unseen"])
    shift = np.linspace(-1, 1, FRAMES)[seen, None, None] * [1, 0]
    np.testing.assert_allclose(points[seen], detected[:, :2] + shift, atol=0.1)


def test_the_mesh_follows(mesh, detected):
    still = with_landmarks(mesh, mesh[None, list(MESH_TO_IBUG68)], 0, "a")
    np.testing.assert_allclose(still, mesh, atol=1e-3)
    moved = with_landmarks(mesh, (mesh[list(MESH_TO_IBUG68)] + [4, -3, 70])[None], 0, "a")
    # All landmarks move alike: so does the whole mesh, and a zero of depth is no movement.
    np.testing.assert_allclose(moved - mesh, np.broadcast_to([4, -3, 0], mesh.shape), atol=1e-3)
    found = with_landmarks(mesh, detected[None], 0, "a")
    np.testing.assert_allclose(found[list(MESH_TO_IBUG68), :2], detected[:, :2], atol=1e-3)
    depth = detected[:, 2] - detected[:, 2].mean()
    np.testing.assert_allclose(found[list(MESH_TO_IBUG68), 2], depth + mesh[list(MESH_TO_IBUG68), 2].mean(), atol=1e-3)


def test_depths_must_run_our_way(mesh):
    turned_round = mesh[None, list(MESH_TO_IBUG68)] * [1, 1, -1]
    with pytest.raises(ReenactError, match="z grows toward the camera; change its sign"):
        with_landmarks(mesh, turned_round, 0, "a")


def test_missing_or_wrong_files_are_skipped_with_a_sentence(data_set):
    _, folder = data_set
    path = folder / "eileen" / "a.png.npy"
    points = np.load(path)
    for wrong, reason in (
        (points + np.array([300, 0, 0]), "are of another face than the one found"),
        (points[:, :2], r"floating-point numbers, \(n, 68, 3\)"),
        (np.round(points).astype(int), r"holds int64 \(1, 68, 3\)"),
    ):
        np.save(path, wrong)
        with pytest.raises(ReenactError, match=reason):
            raise ReenactError(processed(data_set, "a.png", Kind.PHOTO).skipped)
    path.write_bytes(b"nothing")
    with pytest.raises(ReenactError, match=r"write it with numpy\.save"):
        read_landmarks(folder, "eileen/a.png")
    path.unlink()
    assert "no landmarks of eileen/a.png" in processed(data_set, "a.png", Kind.PHOTO).skipped


def test_the_manifest_names_them(data_set, tmp_path, capsys):
    root, folder = data_set
    command = ["prepare", str(root), "--out", str(tmp_path / "pack"), "--workers", "0", "--landmarks"]
    assert main([*command, str(folder)]) == 0
    assert json.loads((tmp_path / "pack" / "manifest.json").read_text())["settings"]["landmarks"] == "fan3d"
    # Not named, the settings are those of older packs.
    assert "landmarks" not in Settings().facts()
    assert replace(Settings(), landmarks=folder).facts() == Settings().facts() | {"landmarks": "fan3d"}
    assert main([*command, str(tmp_path / "nowhere")]) != 0
    assert "check --landmarks" in capsys.readouterr().err
