"""The stream of frames from a real, small pack: six photos and two clips of 40 frames."""

import pickle
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from reenactor.core import ReenactError
from reenactor.research.data.items import Kind, Split
from reenactor.research.data.shards import Sample, ShardReader
from reenactor.research.data.streams import FrameData, FrameStream, batch_loader, clip_landmarks

SIZE = 64
CLIPS = FrameData(size=SIZE)
LANDMARKS = FrameData(size=SIZE, pictures=False)
PHOTOS = FrameData(size=SIZE, photo_share=1.0)
MIXED = FrameData(size=SIZE, photo_share=0.5)


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def frame_number(reader, frame):
    """Which of its sample's frames this is."""
    meshes = reader[frame["clip"]].landmarks_at(SIZE)
    far = np.abs(meshes - frame["mesh_px"].numpy()).max((1, 2))
    assert far.min() < 1e-5
    return int(far.argmin())


@pytest.mark.parametrize("settings", [CLIPS, LANDMARKS, PHOTOS, MIXED])
def test_the_same_seed_gives_the_same_frames_and_another_does_not(pack, settings):
    first, again, other = (list(islice(FrameStream(pack, settings, seed=s), 30)) for s in (3, 3, 4))
    assert all(map(same, first, again))
    assert not all(map(same, first, other))


@pytest.mark.parametrize("settings", [CLIPS, PHOTOS])
def test_frames_are_what_the_pack_holds(pack, settings):
    reader = ShardReader(pack)
    for frame in islice(FrameStream(pack, settings), 12):
        sample = reader[frame["clip"]]
        assert frame["identity"] == sample.identity
        number = frame_number(reader, frame)
        expected = sample.frames([number], size=SIZE)[0].transpose(2, 0, 1)
        np.testing.assert_array_equal(frame["image"], expected)
        assert frame["image"].dtype == torch.uint8
        assert frame["mesh_px"].dtype == torch.float32


def test_landmarks_alone_decode_no_pictures(pack, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(Sample, "frames", refuse)
    reader = ShardReader(pack)
    settings = FrameData(size=SIZE, photo_share=0.3, pictures=False)
    for frame in islice(FrameStream(pack, settings), 40):
        assert frame["image"].shape == (3, 0, 0)
        frame_number(reader, frame)


def test_photos_have_their_share(pack):
    reader = ShardReader(pack)
    settings = FrameData(size=SIZE, photo_share=0.25, pictures=False)
    kinds = Counter(reader[frame["clip"]].kind for frame in islice(FrameStream(pack, settings), 400))
    # 100 expected, standard deviation 9.
    assert 70 <= kinds[Kind.PHOTO] <= 130
    assert {reader[f["clip"]].kind for f in islice(FrameStream(pack, LANDMARKS), 20)} == {Kind.CLIP}
    assert {reader[f["clip"]].kind for f in islice(FrameStream(pack, PHOTOS), 20)} == {Kind.PHOTO}


@pytest.mark.parametrize("settings", [CLIPS, LANDMARKS])
def test_each_frame_of_a_window_is_shown_once(pack, settings):
    """Two parts, a clip at a time: its 40 frames come once, in an order of their own, and then the next clip's."""
    reader = ShardReader(pack)
    for rank in range(2):
        frames = list(islice(FrameStream(pack, settings, rank=rank, world=2), 80))
        for window in (frames[:40], frames[40:]):
            expected = reader[window[0]["clip"]].landmarks_at(SIZE)
            shown = np.stack([frame["mesh_px"].numpy() for frame in window])
            np.testing.assert_array_equal(np.sort(shown[:, 1, 0]), np.sort(expected[:, 1, 0]))
            assert not np.array_equal(shown, expected)


def test_frames_without_a_face_are_not_shown(pack, monkeypatch):
    monkeypatch.setattr(Sample, "seen", property(lambda self: np.arange(len(self)) % 3 == 0))
    reader = ShardReader(pack)
    assert all(frame_number(reader, frame) % 3 == 0 for frame in islice(FrameStream(pack, CLIPS), 40))
    for row, meshes in clip_landmarks(reader):
        np.testing.assert_array_equal(meshes, reader[row].landmarks[::3])


def test_a_clip_that_shows_no_face_is_passed_over(pack, monkeypatch):
    monkeypatch.setattr(Sample, "seen", property(lambda self: np.full(len(self), self.identity == "talk")))
    for rank in range(2):
        frames = islice(FrameStream(pack, LANDMARKS, rank=rank, world=2), 60)
        assert {frame["identity"] for frame in frames} == {"talk"}
    assert len(list(clip_landmarks(ShardReader(pack)))) == 1
    monkeypatch.setattr(Sample, "seen", property(lambda self: np.zeros(len(self), bool)))
    with pytest.raises(ReenactError, match="shows a face"):
        next(iter(FrameStream(pack, LANDMARKS)))


def test_parts_share_an_epoch_without_overlap(pack):
    photos = [[f["identity"] for f in islice(FrameStream(pack, PHOTOS, seed=5, rank=r, world=2), 3)] for r in range(2)]
    assert sorted(photos[0] + photos[1]) == [f"person{i}" for i in range(6)]
    clips = [
        {f["identity"] for f in islice(FrameStream(pack, LANDMARKS, seed=5, rank=r, world=2), 40)} for r in range(2)
    ]
    assert sorted(map(tuple, clips)) == [("smile",), ("talk",)]


def test_few_clips_are_shared_by_many_parts(pack):
    parts = [FrameStream(pack, LANDMARKS, rank=rank, world=5) for rank in range(5)]
    assert {next(iter(part))["identity"] for part in parts} == {"talk", "smile"}


def test_each_iteration_is_the_next_epoch(pack):
    stream = FrameStream(pack, LANDMARKS, seed=5)
    first, second = (list(islice(stream, 20)) for _ in range(2))
    assert not all(map(same, first, second))
    assert all(map(same, second, islice(FrameStream(pack, LANDMARKS, seed=5, epoch=1), 20)))


def test_a_stream_can_be_sent_to_a_worker_and_batched(pack):
    stream = pickle.loads(pickle.dumps(FrameStream(pack, MIXED, seed=2)))
    batch = next(iter(batch_loader(stream, batch_size=6, workers=0)))
    assert batch["image"].shape == (6, 3, SIZE, SIZE)
    assert batch["mesh_px"].shape == (6, 478, 3)
    assert batch["clip"].tolist() == [frame["clip"] for frame in islice(FrameStream(pack, MIXED, seed=2), 6)]


def test_clips_to_fit_on_are_all_of_the_split(pack):
    reader = ShardReader(pack)
    found = dict(clip_landmarks(reader))
    assert sorted(found) == [row for row in range(len(reader)) if reader[row].kind is Kind.CLIP]
    for row, meshes in found.items():
        np.testing.assert_array_equal(meshes, reader[row].landmarks)
    assert list(clip_landmarks(reader, Split.VAL)) == []


def test_what_is_not_there_is_refused(pack, edited):
    without_clips = edited(lambda row: row["kind"] == "photo")
    with pytest.raises(ReenactError, match="no clips in its 'test' split"):
        FrameStream(pack, FrameData(), split=Split.TEST)
    with pytest.raises(ReenactError, match="no photos in its 'val' split"):
        FrameStream(pack, PHOTOS, split=Split.VAL)
    with pytest.raises(ReenactError, match="no clips and no photos in its 'val' split"):
        FrameStream(pack, MIXED, split=Split.VAL)
    with pytest.raises(ReenactError, match="no clips in its 'train' split"):
        FrameStream(without_clips, CLIPS)


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_that_is_not_there_is_left_out(edited, kind):
    folder = edited(lambda row: row["kind"] == kind.value)
    seen = {frame["identity"] for frame in islice(FrameStream(folder, MIXED), 60)}
    assert seen == ({f"person{i}" for i in range(6)} if kind is Kind.PHOTO else {"talk", "smile"})


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="photo_share"):
        FrameData(photo_share=1.5)
