"""The stream of pairs from a real, small pack: six photos and two clips made from the astronaut."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from reenactor.core import ReenactError
from reenactor.face.geometry import in_mean_pose, matrix_from_angles, mean_face
from reenactor.research.data.items import Split
from reenactor.research.data.pair_stream import PairData, PairStream, spread_frames, two_stretches
from reenactor.research.data.pairs import PairAugmentation, PairKind
from reenactor.research.data.shards import Sample
from reenactor.research.data.streams import batch_loader, pictures_m1p1

SIZE = 64
ONLY = {kind: PairData(size=SIZE, targets=1, mix={kind: 1.0}) for kind in PairKind}
POSSIBLE = {kind: data for kind, data in ONLY.items() if kind is not PairKind.PHOTOS}
"""The pack has one photo of each person."""


def is_photo(row):
    return row["kind"] == "photo"


def is_clip(row):
    return row["kind"] == "clip"


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_each_iteration_is_the_next_epoch(pack):
    settings = PairData(size=SIZE, targets=1)
    stream = PairStream(pack, settings, seed=5)
    first, second = (list(islice(stream, 6)) for _ in range(2))
    assert not all(map(same, first, second))
    again = list(islice(PairStream(pack, settings, seed=5, epoch=1), 6))
    assert all(map(same, second, again))


def test_workers_that_stay_begin_the_next_epoch(pack):
    def loader(epoch, workers):
        stream = PairStream(pack, ONLY[PairKind.WARP_BACK], seed=5, epoch=epoch)
        return batch_loader(stream, batch_size=2, workers=workers)

    staying = loader(0, workers=1)
    first, second = (next(iter(staying)) for _ in range(2))
    assert same(first, next(iter(loader(0, workers=0))))
    assert same(second, next(iter(loader(1, workers=0))))


def test_only_the_people_asked_for(pack):
    settings = PairData(
        size=SIZE, targets=1, people=("smile", "person3"), mix={PairKind.CLIP: 0.5, PairKind.WARP_BACK: 0.5}
    )
    seen = {pair["identity"] for pair in islice(PairStream(pack, settings), 12)}
    assert seen == {"smile", "person3"}


def test_only_so_many_photos_of_a_person(edited):
    everybody_one = edited(is_photo, identity="a", split="train")
    settings = PairData(size=SIZE, targets=1, photos=2, mix={PairKind.WARP_BACK: 1.0})
    pairs = list(islice(PairStream(everybody_one, settings), 12))
    assert len({pair["truth"].numpy().tobytes() for pair in pairs}) == 2


def test_one_person_borrows_the_outlines_of_all(pack):
    settings = PairData(size=SIZE, targets=1, people=("person2",), mix={PairKind.CONTOUR: 1.0})
    pairs = list(islice(PairStream(pack, settings), 4))
    assert {pair["identity"] for pair in pairs} == {"person2"}
    assert len({pair["driver_mesh"].numpy().tobytes() for pair in pairs}) > 1


def test_the_same_seed_gives_the_same_pairs_and_another_does_not(pack):
    first, again, other = (
        list(islice(PairStream(pack, PairData(size=SIZE, targets=2), seed=s), 12)) for s in (3, 3, 4)
    )
    assert all(map(same, first, again))
    assert not all(map(same, first, other))


def test_shapes_and_ranges(pack):
    for kind, settings in POSSIBLE.items():
        pair = next(iter(PairStream(pack, PairData(size=SIZE, targets=3, mix=settings.mix))))
        assert pair["kind"] == kind.value
        assert pair["targets"].shape == (3, 3, SIZE, SIZE)
        assert pair["target_mesh"].shape == (3, 478, 3)
        assert pair["truth"].shape == (3, SIZE, SIZE)
        assert pair["mask"].shape == (1, SIZE, SIZE)
        assert pair["truth"].dtype == pair["mask"].dtype == torch.uint8
        assert pair["driver_mesh"].dtype == torch.float32
    levels = torch.tensor([0, 255], dtype=torch.uint8).expand(3, 1, 2)
    assert pictures_m1p1(levels).tolist() == [[[-1.0, 1.0]]] * 3


def test_kinds_come_in_the_proportion_asked_for(pack):
    mix = {PairKind.CLIP: 3.0, PairKind.WARP_BACK: 1.0, PairKind.CONTOUR: 0.0}
    kinds = Counter(pair["kind"] for pair in islice(PairStream(pack, PairData(size=SIZE, targets=1, mix=mix)), 200))
    assert set(kinds) == {"clip", "warp_back"}
    # 150 expected, standard deviation 6.
    assert 125 <= kinds["clip"] <= 175


def test_pairs_that_follow_come_after_theirs(pack):
    how = {"mix": {PairKind.CLIP: 0.6, PairKind.WARP_BACK: 0.4}, "augment": PairAugmentation.photos()}
    pairs = list(islice(PairStream(pack, PairData(size=SIZE, targets=1, follow=0.5, **how)), 120))
    later = [number for number, pair in enumerate(pairs) if pair["follows"]]
    assert 15 < len(later) < 50
    for number in later:
        before, pair = pairs[number - 1], pairs[number]
        assert pair["kind"] == before["kind"] == "clip"
        assert not before["follows"]
        assert torch.equal(pair["targets"], before["targets"])
        assert torch.equal(pair["target_mesh"], before["target_mesh"])
        # The face has hardly moved.
        assert 0 <= (pair["driver_mesh"] - before["driver_mesh"]).norm(dim=1).mean() < 0.05 * SIZE


def test_parts_share_an_epoch_without_overlap(pack):
    """Two machines: in the first epoch each photo goes to one of them."""
    seen = [
        [p["identity"] for p in islice(PairStream(pack, ONLY[PairKind.WARP_BACK], seed=5, rank=r, world=2), 3)]
        for r in range(2)
    ]
    assert sorted(seen[0] + seen[1]) == [f"person{i}" for i in range(6)]


def test_an_epoch_shows_every_photo_once(pack):
    stream = PairStream(pack, ONLY[PairKind.WARP_BACK], seed=1)
    names = [pair["identity"] for pair in islice(stream, 12)]
    assert sorted(names[:6]) == sorted(names[6:]) == [f"person{i}" for i in range(6)]


def test_few_photos_are_shared_by_many_parts(edited):
    """Four machines, two photos: every machine gets pairs, and every photo is shown."""
    folder = edited(lambda row: row["identity"] in ("person0", "person1"))
    for kind in (PairKind.WARP_BACK, PairKind.CONTOUR):
        parts = [PairStream(folder, ONLY[kind], rank=rank, world=4) for rank in range(4)]
        seen = [next(iter(part))["identity"] for part in parts]
        assert Counter(seen) == {"person0": 2, "person1": 2}


def test_few_clips_are_shared_by_many_parts(pack):
    parts = [PairStream(pack, ONLY[PairKind.CLIP], rank=rank, world=5) for rank in range(5)]
    assert {next(iter(part))["identity"] for part in parts} == {"talk", "smile"}


def test_photos_alone_lend_expressions(edited):
    """All photos show one smile with teeth: some targets get closed lips, and none another nose."""
    shapes = []
    for pair in islice(PairStream(edited(is_photo), ONLY[PairKind.WARP_BACK], seed=3), 24):
        target, truth = (in_mean_pose(pair[name].reshape(478, 3).numpy())[1] for name in ("target_mesh", "driver_mesh"))
        # Upper and lower lip; eyes are 1 apart.
        opened = [np.linalg.norm(one[13] - one[14]) for one in (target, truth)]
        shapes.append((*opened, np.abs(target - truth)[[168, 6, 197, 195]].max()))
    targets, truths, noses = np.transpose(shapes)
    assert truths.min() > 0.1
    closed, opened = targets < 0.75 * truths, targets > 1.05 * truths
    assert min(np.count_nonzero(closed), np.count_nonzero(opened)) >= 3
    np.testing.assert_allclose(targets[~closed & ~opened], truths[~closed & ~opened], rtol=0.02)
    assert noses.max() < 0.03


@pytest.mark.parametrize("rank", range(3))
def test_an_outline_is_always_another_persons(pack, monkeypatch, rank):
    """Also in a part whose own photos all show one person (two photos a part here)."""
    lent = []
    landmarks_at = Sample.landmarks_at

    def noted(self, size):
        lent.append(self.identity)
        return landmarks_at(self, size)

    monkeypatch.setattr(Sample, "landmarks_at", noted)
    shown = [pair["identity"] for pair in islice(PairStream(pack, ONLY[PairKind.CONTOUR], rank=rank, world=3), 40)]
    assert lent[::2] == shown
    assert all(one != other for one, other in zip(shown, lent[1::2], strict=True))
    assert len(set(lent[1::2])) == 6  # photos of other parts lend theirs, too


def test_photos_of_one_person_make_no_contour_pairs(edited):
    folder = edited(is_photo, identity="the same")
    kinds = {pair["kind"] for pair in islice(PairStream(folder, PairData(size=SIZE, targets=1)), 20)}
    assert kinds == {"warp_back"}
    with pytest.raises(ReenactError, match="photos of two people"):
        PairStream(folder, ONLY[PairKind.CONTOUR])


def test_photo_pairs_need_two_photos_of_one_person(pack, edited):
    with pytest.raises(ReenactError, match="photo pairs two of one"):
        PairStream(pack, ONLY[PairKind.PHOTOS])
    folder = edited(is_photo, identity="the same")
    pairs = list(islice(PairStream(folder, PairData(size=SIZE, targets=2, mix={PairKind.PHOTOS: 1.0})), 6))
    assert {pair["kind"] for pair in pairs} == {"photos"}
    for pair in pairs:
        assert not torch.equal(pair["targets"][0], pair["targets"][1])
        assert all(not torch.equal(mesh, pair["driver_mesh"]) for mesh in pair["target_mesh"])
        assert 0.02 < (pair["mask"] > 0).float().mean() < 0.6


@pytest.mark.parametrize("columns", [{"frames": 1}, {"face_share": 0.02}])
def test_clips_of_one_usable_frame_are_left_out(edited, columns):
    """0.02 of 40 frames is one frame."""
    with pytest.raises(ReenactError, match="nothing to train on"):
        PairStream(edited(is_clip, **columns), ONLY[PairKind.CLIP])


def test_clips_that_show_no_face_after_all(pack, monkeypatch):
    """What the index does not tell: pairs from clips are refused, and warp-back pairs do without their expressions."""
    monkeypatch.setattr(Sample, "seen", property(lambda self: np.zeros(len(self), bool)))
    with pytest.raises(ReenactError, match="two frames that show the face"):
        next(iter(PairStream(pack, ONLY[PairKind.CLIP])))
    assert next(iter(PairStream(pack, ONLY[PairKind.WARP_BACK])))["kind"] == "warp_back"


def test_a_clip_that_shows_no_face_is_passed_over(pack, monkeypatch):
    """Also by the part that has no other."""
    monkeypatch.setattr(Sample, "seen", property(lambda self: np.full(len(self), self.identity == "talk")))
    for rank in range(2):
        pairs = islice(PairStream(pack, ONLY[PairKind.CLIP], rank=rank, world=2), 40)
        assert {pair["identity"] for pair in pairs} == {"talk"}


def test_landmarks_lie_on_the_faces(pack):
    """The eyes' irises are darker than the cheeks, in targets and truths of every kind."""
    for settings in POSSIBLE.values():
        for pair in islice(PairStream(pack, PairData(size=128, targets=1, mix=settings.mix), seed=2), 4):
            for picture, mesh in ((pair["truth"], pair["driver_mesh"]), (pair["targets"][0], pair["target_mesh"][0])):
                grey = picture.float().mean(0)
                x, y = mesh[[468, 473, 50, 280], :2].round().long().clamp(0, 127).T
                irises, cheeks = grey[y, x][:2].mean(), grey[y, x][2:].mean()
                assert irises < cheeks - 20


@pytest.mark.slow
def test_worker_processes_give_what_their_parts_give(pack):
    stream = PairStream(pack, PairData(size=SIZE, targets=1), seed=9)
    loaded = list(islice(batch_loader(stream, batch_size=4, workers=2), 4))
    parts = [iter(PairStream(pack, PairData(size=SIZE, targets=1), seed=9, rank=r, world=2)) for r in range(2)]
    for number, batch in enumerate(loaded):
        alone = list(islice(parts[number % 2], 4))
        assert torch.equal(batch["truth"], torch.stack([pair["truth"] for pair in alone]))
        assert batch["identity"] == [pair["identity"] for pair in alone]


def test_a_split_without_data_is_refused(pack):
    with pytest.raises(ReenactError, match="nothing to train on in its 'test' split"):
        PairStream(pack, PairData(), split=Split.TEST)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="targets"):
        PairData(targets=0)
    with pytest.raises(ValueError, match="weights of a mix"):
        PairData(mix={PairKind.CLIP: -1.0})


def test_pairs_come_from_two_stretches_far_apart_in_pose():
    # The head turns in the last quarter only; where in the picture it is does not matter.
    noise = np.random.default_rng(0)
    meshes = 60 * mean_face().points + noise.normal(0, 0.1, (800, 478, 3))
    meshes[600:] = meshes[600:] @ matrix_from_angles(np.array([30.0, 0, 0])).T
    meshes = (meshes + noise.normal(0, 20, (800, 1, 3)) * [1, 1, 0]).astype(np.float32)
    usable = np.flatnonzero(np.arange(800) % 10 < 9)
    rng = np.random.default_rng(1)
    turned, asked = 0, 0
    for _ in range(50):
        asked += {False, True} == set(two_stretches(meshes, usable, rng, turning=True) >= 600)
        numbers = two_stretches(meshes, usable, rng)
        positions = np.searchsorted(usable, numbers)
        assert (usable[positions] == numbers).all()
        assert len(np.unique(numbers)) == 128
        assert np.count_nonzero(np.diff(positions) != 1) <= 1
        turned += (numbers >= 600).any()
    # Of two independent stretches about half would; of one long one a third.
    assert turned > 42
    # Two stretches that both lie on the edge between the sides show both, wherever their middles are.
    assert asked == 50


def test_uniform_frames_come_from_the_whole_clip():
    usable = np.flatnonzero(np.arange(800) % 10 < 9)
    rng = np.random.default_rng(1)
    chosen = [spread_frames(usable, rng) for _ in range(200)]
    assert all(len(one) == 128 and (np.diff(one) > 0).all() for one in chosen)
    # 128 of 720, 200 times: 35.6 each, deviation 5.4.
    counts = np.bincount(np.concatenate(chosen), minlength=800)
    assert (counts[np.setdiff1d(np.arange(800), usable)] == 0).all()
    assert np.abs(counts[usable] - 35.6).max() < 27
    assert (spread_frames(usable[:5], rng) == usable[:5]).all()


def test_uniform_pairs_read_no_poses(pack, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compared poses")

    for name in ("differences", "two_stretches"):
        monkeypatch.setattr(f"reenactor.research.data.pair_stream.{name}", refuse)
    monkeypatch.setattr("reenactor.research.data.pairs.differences", refuse)
    uniform = PairData(size=SIZE, targets=2, mix={PairKind.CLIP: 1.0}, choice="uniform", least_gap_s=0)
    assert next(iter(PairStream(pack, uniform)))["kind"] == "clip"
    with pytest.raises(AssertionError, match="compared poses"):
        next(iter(PairStream(pack, ONLY[PairKind.CLIP])))


def test_as_many_clips_are_open_as_asked_for(pack):
    """A clip of 40 frames gives 20 pairs: one after another, or both clips at a time."""
    for count, people in ((1, 1), (2, 2)):
        settings = PairData(size=SIZE, targets=1, mix={PairKind.CLIP: 1.0}, open_clips=count)
        assert len({pair["identity"] for pair in islice(PairStream(pack, settings), 16)}) == people


@pytest.mark.parametrize("count", [2, 64, 128, 129, 130, 200])
def test_stretches_of_short_clips(count):
    meshes = np.zeros((count, 478, 3), np.float32)
    for seed in range(20):
        numbers = two_stretches(meshes, np.arange(count), np.random.default_rng(seed))
        assert len(np.unique(numbers)) == min(count, 128)
