"""The stream of pairs from a real, small pack: six photos and two clips made from the astronaut."""

from collections import Counter
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch

from reenact import Reenactor
from reenact.core import ReenactError
from reenact.data.items import Split
from reenact.data.packing import Plan
from reenact.data.pairs import PairKind
from reenact.data.prepare import prepare
from reenact.data.shards import ShardReader
from reenact.data.stream import PairSettings, PairStream, pair_loader, pictures_m1p1
from reenact.inference.shipped import demo_photo, shipped_motions
from reenact.media import VideoWriter, write_image

SIZE = 64
ONLY = {kind: PairSettings(size=SIZE, mix={kind: 1.0}) for kind in PairKind}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    photo = np.ascontiguousarray(demo_photo()[:256, 100:356])
    for i in range(6):
        (source / "train" / f"person{i}").mkdir(parents=True)
        shade = np.clip(photo * (0.7 + 0.1 * i), 0, 255).astype(np.uint8)
        write_image(source / "train" / f"person{i}" / "a.png", shade[:, ::-1] if i % 2 else shade)
    reenactor = Reenactor(size=256)
    reenactor.set_target([photo])
    for name in ("talk", "smile"):
        (source / "train" / name).mkdir()
        path = source / "train" / name / "clip.mp4"
        with VideoWriter(path, size=(256, 256), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
            for i, frame in enumerate(islice(reenactor.drive(shipped_motions()[name]), 40)):
                writer.write(frame.image, i)
    out = tmp_path_factory.mktemp("pack") / "pack"
    prepare(Plan(source=source, out=out, dataset="folder", workers=1))
    assert len(ShardReader(out)) == 8
    return out


def same(a, b):
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_the_same_seed_gives_the_same_pairs_and_another_does_not(pack):
    first, again, other = (
        list(islice(PairStream(pack, PairSettings(size=SIZE, targets=2), seed=s), 12)) for s in (3, 3, 4)
    )
    assert all(map(same, first, again))
    assert not all(map(same, first, other))


def test_shapes_and_ranges(pack):
    for kind, settings in ONLY.items():
        pair = next(iter(PairStream(pack, PairSettings(size=SIZE, targets=3, mix=settings.mix))))
        assert pair["kind"] == kind.value
        assert pair["targets"].shape == (3, 3, SIZE, SIZE)
        assert pair["target_mesh"].shape == (3, 478, 3)
        assert pair["truth"].shape == (3, SIZE, SIZE)
        assert pair["mask"].shape == (1, SIZE, SIZE)
        assert pair["truth"].dtype == pair["mask"].dtype == torch.uint8
        assert pair["driver_mesh"].dtype == torch.float32
    assert pictures_m1p1(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_kinds_come_in_the_proportion_asked_for(pack):
    mix = {PairKind.CLIP: 3.0, PairKind.WARP_BACK: 1.0, PairKind.CONTOUR: 0.0}
    kinds = Counter(pair["kind"] for pair in islice(PairStream(pack, PairSettings(size=SIZE, mix=mix)), 200))
    assert set(kinds) == {"clip", "warp_back"}
    # 150 expected, standard deviation 6.
    assert 125 <= kinds["clip"] <= 175


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


def test_landmarks_lie_on_the_faces(pack):
    """The eyes' irises are darker than the cheeks, in targets and truths of every kind."""
    for settings in ONLY.values():
        for pair in islice(PairStream(pack, PairSettings(size=128, mix=settings.mix), seed=2), 4):
            for picture, mesh in ((pair["truth"], pair["driver_mesh"]), (pair["targets"][0], pair["target_mesh"][0])):
                grey = picture.float().mean(0)
                x, y = mesh[[468, 473, 50, 280], :2].round().long().clamp(0, 127).T
                irises, cheeks = grey[y, x][:2].mean(), grey[y, x][2:].mean()
                assert irises < cheeks - 20


@pytest.mark.slow
def test_worker_processes_give_what_their_parts_give(pack):
    stream = PairStream(pack, PairSettings(size=SIZE), seed=9)
    loaded = list(islice(pair_loader(stream, batch_size=4, workers=2), 4))
    parts = [iter(PairStream(pack, PairSettings(size=SIZE), seed=9, rank=r, world=2)) for r in range(2)]
    for number, batch in enumerate(loaded):
        alone = list(islice(parts[number % 2], 4))
        assert torch.equal(batch["truth"], torch.stack([pair["truth"] for pair in alone]))
        assert batch["identity"] == [pair["identity"] for pair in alone]


def test_a_split_without_data_is_refused(pack):
    with pytest.raises(ReenactError, match="nothing to train on in its 'test' split"):
        PairStream(pack, split=Split.TEST)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="at least one target"):
        PairSettings(targets=0)
    with pytest.raises(ValueError, match="weights of a mix"):
        PairSettings(mix={PairKind.CLIP: -1.0})
