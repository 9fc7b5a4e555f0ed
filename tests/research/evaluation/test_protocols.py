"""Sets: repeatable, nested in K, apart in time, balanced over people, refused when the data is of no use."""

import shutil
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reenactor.core import ReenactError
from reenactor.face.geometry import in_mean_pose
from reenactor.face.geometry.mean_face import head_angles
from reenactor.research.data import Kind, ShardReader, Split
from reenactor.research.data.shards import INDEX
from reenactor.research.evaluation import CaseList, Packs, Protocol, choose_cases, protocols, read_cases, usual_split
from reenactor.research.evaluation.protocols import _counts, _different_looks

OURS = [Protocol.SELF, Protocol.DIFFERENT, Protocol.SAME_SOURCE]


@pytest.mark.parametrize("protocol", OURS)
def test_repeatable_and_kept_as_json(protocol, cases_of, tmp_path):
    cases = cases_of(protocol)
    assert cases_of(protocol) == cases
    assert cases_of(protocol, seed=1).cases != cases.cases
    path = tmp_path / "cases.json"
    path.write_text(cases.to_json())
    assert read_cases(path) == cases
    assert read_cases(path).digest == cases.digest
    assert len({one.id for one in cases}) == len(cases)


@pytest.mark.parametrize("protocol", [Protocol.SELF, Protocol.DIFFERENT])
def test_more_targets_or_more_sets_change_nothing_else(protocol, cases_of):
    one, eight = cases_of(protocol), cases_of(protocol, k=8)
    assert [s.driver for s in one.cases] == [s.driver for s in eight.cases]
    assert [s.targets for s in one.cases] == [s.targets[:1] for s in eight.cases]
    assert all(len(set(s.targets)) == 8 for s in eight.cases)
    assert cases_of(protocol, count=5).cases == one.cases[:5]


def test_self_is_one_clip_a_second_apart(packs, cases_of):
    cases = cases_of(Protocol.SELF, count=40, k=3)
    for one in cases:
        clip = packs.driver.sample(one.driver.key)
        assert {f.key for f in one.targets} == {one.driver.key}
        assert one.identity == clip.identity
        numbers = [f.number for f in one.targets]
        away_s = np.abs(clip.times_s[numbers] - clip.times_s[one.driver.number])
        # Of a clip of 1.6 s, 0.7 of the way to the farther end where a second is too much.
        farthest = np.abs(clip.times_s - clip.times_s[one.driver.number]).max()
        assert (away_s >= min(1.0, 0.7 * farthest) - 1e-6).all()
        assert (away_s > 0.5).all()
    assert set(Counter(one.identity for one in cases).values()) == {20}


def test_a_person_of_the_first_half_and_drivers_of_the_second(packs, cases_of, monkeypatch):
    with pytest.raises(ReenactError, match=r"no clips of 4\.5 s"):
        cases_of(Protocol.PERSON)
    monkeypatch.setattr(protocols, "LEAST_PERSON_S", 1.0)
    one, four = (cases_of(Protocol.PERSON, count=12, k=k) for k in (1, 4))
    assert [case.driver for case in one] == [case.driver for case in four]
    assert [case.targets for case in one] == [case.targets[:1] for case in four]
    assert cases_of(Protocol.PERSON, count=12, k=4) == four
    for case in four:
        clip = packs.driver.sample(case.driver.key)
        numbers = [frame.number for frame in case.targets]
        assert len(numbers) == len(set(numbers)) <= 4
        assert clip.times_s[numbers].max() < clip.times_s[-1] / 2 <= clip.times_s[case.driver.number]
    assert max(len(case.targets) for case in four) == 4


def test_different_people_in_runs(packs, cases_of):
    cases = cases_of(Protocol.DIFFERENT, count=24)
    for one in cases:
        assert one.identity == packs.target.sample(one.targets[0].key).identity
        assert one.identity != packs.driver.sample(one.driver.key).identity
    assert set(Counter(one.clip for one in cases).values()) == {12}


def test_portraits_are_driven_by_a_clip_each(packs, cases_of):
    cases = cases_of(Protocol.SAME_SOURCE, count=30)
    assert {packs.target.sample(one.targets[0].key).kind for one in cases} == {Kind.PHOTO}
    clips = {}
    for one in cases:
        clips.setdefault(one.targets[0].key, set()).add(one.driver.key)
    assert len(clips) == 3
    assert all(len(keys) == 1 for keys in clips.values())
    assert len({(one.targets, one.driver) for one in cases}) == 30


def test_few_shot_portraits_come_from_clips(packs, cases_of):
    cases = cases_of(Protocol.SAME_SOURCE, k=3)
    assert {packs.target.sample(one.targets[0].key).kind for one in cases} == {Kind.CLIP}
    assert all(len(set(one.targets)) == 3 for one in cases)


def test_as_many_as_the_paper(cases_of):
    assert len(cases_of(Protocol.SELF, count=None)) == 2083
    assert len(cases_of(Protocol.DIFFERENT, count=None)) == 4000
    # Six people, one of two clips of 40 frames each.
    assert len(cases_of(Protocol.SAME_SOURCE, count=None)) == 240


@pytest.mark.parametrize(
    ("count", "people", "counts"),
    [(None, 800, (500, 100)), (None, 60, (60, 100)), (50_000, 800, (500, 100)), (300, 800, (30, 10)), (5, 9, (1, 5))],
)
def test_five_targets_to_a_driver(count, people, counts):
    assert _counts(count, people) == counts


def test_expressions_differ_as_much_as_can_be(packs, cases_of):
    clip = packs.driver.sample(cases_of(Protocol.SELF).cases[0].driver.key)
    shape = in_mean_pose(clip.landmarks)[1].reshape(len(clip), -1)
    looks = np.hstack([head_angles(clip.landmarks) / 10, shape / (0.03 * np.sqrt(shape.shape[1] / 3))])

    def nearest(frames):
        apart = np.linalg.norm(looks[frames][:, None] - looks[frames], axis=2)
        return (apart + np.eye(len(frames)) * 1e9).min()

    picked = _different_looks(clip, 6, np.random.default_rng(0))
    assert len(set(picked.tolist())) == 6
    by_chance = [nearest(np.random.default_rng(i).permutation(len(clip))[:6]) for i in range(20)]
    assert nearest(picked) > max(by_chance)


def test_refusals(pack, packs, cases_of):
    with pytest.raises(ReenactError, match="no clips in its split val"):
        choose_cases(packs, Protocol.SELF, split=Split.VAL)
    with pytest.raises(ReenactError, match="clips of 0 people"):
        choose_cases(packs, Protocol.DIFFERENT, split=Split.VAL)
    with pytest.raises(ReenactError, match="give --targets"):
        cases_of(Protocol.WILD)
    with pytest.raises(ReenactError, match="leave out --targets"):
        choose_cases(Packs(pack, pack), Protocol.SELF, split=Split.TRAIN)
    for options in ({"k": 0}, {"count": 0}, {"size": 100}):
        with pytest.raises(ReenactError, match="must be"):
            cases_of(Protocol.SELF, **options)


@pytest.fixture
def relabelled(pack, tmp_path):
    """A function that copies the pack with some rows' values changed."""

    def change(name, **columns):
        shutil.copytree(pack, tmp_path / name)
        rows = [row | {k: f(row) for k, f in columns.items()} for row in pq.read_table(pack / INDEX).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(pack / INDEX)), tmp_path / name / INDEX)
        return tmp_path / name

    return change


def test_few_shot_portraits_are_photos_of_people_with_enough(relabelled):
    """Paper A, table 3: persons 0 to 3 are one, with four photos; persons 4 and 5 have one each."""
    one_person = {f"person{i}": "anna" for i in range(4)}
    packs = Packs(relabelled("album", identity=lambda row: one_person.get(row["identity"], row["identity"])))
    choose = partial(choose_cases, packs, Protocol.SAME_SOURCE, count=10, photos=4)
    one, two, four = (choose(k=k) for k in (1, 2, 4))
    assert {case.identity for case in four} == {"anna"}
    assert all(len({frame.key for frame in case.targets}) == 4 for case in four)
    assert {packs.target.sample(frame.key).kind for case in four for frame in case.targets} == {Kind.PHOTO}
    # The same people, first photos and drivers, whatever K is.
    assert [case.targets for case in two] == [case.targets[:2] for case in four]
    assert [(case.targets, case.driver) for case in one] == [(case.targets[:1], case.driver) for case in four]
    assert {case.identity for case in choose_cases(packs, Protocol.SAME_SOURCE, count=30)} > {"anna"}
    assert choose(k=3, photos=None).cases == tuple(replace(c, targets=c.targets[:3]) for c in four)
    with pytest.raises(ReenactError, match="no people with 5 portraits or clips in its split test"):
        choose_cases(Packs(relabelled("none", split=lambda _: "val")), Protocol.SAME_SOURCE, k=5, split=Split.TEST)


def test_the_split_that_exists(relabelled, tmp_path):
    """Of each pack: VoxCeleb1 and CelebV have no val, FFHQ has no test, RAF-DB no val."""
    train = relabelled("train", split=lambda _: "train")
    test = relabelled("test", split=lambda row: "test" if row["kind"] == "clip" else "train")
    val = relabelled("val", split=lambda row: "val" if row["kind"] == "clip" else "test")
    assert [usual_split(ShardReader(one)) for one in (train, test, val)] == [Split.TRAIN, Split.TEST, Split.VAL]
    cases = choose_cases(Packs(val, test), Protocol.WILD, count=10)
    assert (cases.split, cases.targets_split) == (Split.VAL, Split.TEST)
    (tmp_path / "cases.json").write_text(cases.to_json())
    assert read_cases(tmp_path / "cases.json") == cases
    # Cases of one split are written as they always were, so exports made before are still theirs.
    assert "targets_split" in cases.to_json()
    assert "targets_split" not in replace(cases, targets_split=cases.split).to_json()


def test_targets_of_another_pack(pack):
    cases = choose_cases(Packs(pack, pack), Protocol.WILD, count=10, split=Split.TRAIN)
    assert cases.name == "k1_wild"
    assert len(cases) == 10


def test_no_sets_in_a_file(tmp_path):
    with pytest.raises(ReenactError, match="is missing"):
        read_cases(tmp_path / "cases.json")
    (tmp_path / "cases.json").write_text("{}")
    with pytest.raises(ReenactError, match="does not describe"):
        read_cases(tmp_path / "cases.json")


def test_json_is_one_line_a_set(cases_of):
    cases = cases_of(Protocol.SELF)
    assert isinstance(cases, CaseList)
    assert sum('"id"' in line for line in cases.to_json().splitlines()) == len(cases)
