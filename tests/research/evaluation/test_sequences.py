"""Consecutive frames: cases far from their targets, flicker and jitter of sequences with known second differences."""

import argparse
from dataclasses import replace

import numpy as np
import pytest

from reenactor.cli import evaluate
from reenactor.core import OUTER_EYE_CORNERS, ReenactError
from reenactor.face.geometry import mean_face
from reenactor.media import read_image, write_image
from reenactor.research.data import Split
from reenactor.research.evaluation import (
    SCORES,
    Entry,
    Packs,
    Protocol,
    TableFormat,
    choose_cases,
    export,
    measure_all,
    measurements,
    open_predictions,
    read_cases,
    result_tables,
    score_folders,
    write_tables,
)
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.figures import sequence_sheet
from reenactor.research.evaluation.measurements import STILL_LEVELS, distance_to_face, flicker, still_background
from reenactor.research.evaluation.protocols import _starts
from reenactor.research.evaluation.scores import ratio_of_means

BOTH = [Protocol.VIDEO, Protocol.VIDEO_DIFFERENT]
FRAMES = 6


def film_of(values, size=64):
    """Grey pictures of these levels."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), size, size, 3)).copy()


class TestCases:
    @pytest.mark.parametrize("protocol", BOTH)
    def test_consecutive_and_repeatable(self, protocol, packs, cases_of, tmp_path):
        cases = cases_of(protocol, frames=FRAMES)
        assert cases_of(protocol, frames=FRAMES) == cases
        assert cases_of(protocol, frames=FRAMES, seed=1).cases != cases.cases
        (tmp_path / "cases.json").write_text(cases.to_json())
        assert read_cases(tmp_path / "cases.json") == cases
        assert len({one.id for one in cases}) == len(cases) == 2 * FRAMES, "a sequence of each clip"
        for some in (cases.cases[:FRAMES], cases.cases[FRAMES:]):
            assert len({(one.clip, one.identity, one.targets, one.driver.key) for one in some}) == 1
            assert np.diff([one.driver.number for one in some]).tolist() == [1] * (FRAMES - 1)
            clip = packs.driver.sample(some[0].driver.key)
            assert clip.seen[[one.driver.number for one in some]].all()
            target = packs.target.sample(some[0].targets[0].key)
            assert target.identity == some[0].identity
            assert (target.identity == clip.identity) == protocol.has_truth
        assert cases[0].clip != cases[FRAMES].clip

    def test_the_same_frames_for_one_person_and_for_two(self, cases_of):
        own, other = (cases_of(protocol, frames=FRAMES) for protocol in BOTH)
        assert [one.driver for one in own.cases] == [one.driver for one in other.cases]
        assert all(one.targets[0].key != one.driver.key for one in other.cases)

    @pytest.mark.parametrize("frames", [FRAMES, 100])
    def test_targets_are_far_in_time(self, frames, packs, cases_of):
        """Slowly: of all seen frames' distances to the nearest driven frame, 0.7 of the greatest or more."""
        cases = cases_of(Protocol.VIDEO, frames=frames, k=4, count=120)
        length = min(frames, 20)  # half of these clips
        for first in range(0, 120, length):
            some = cases.cases[first : first + length]
            clip = packs.driver.sample(some[0].driver.key)
            driven = clip.times_s[[one.driver.number for one in some]]
            away = [min(abs(t - d) for d in driven) for t in clip.times_s]
            most = max(a for a, seen in zip(away, clip.seen, strict=True) if seen)
            assert all(away[frame.number] >= 0.7 * most - 1e-6 for frame in some[0].targets)

    def test_more_targets_or_more_sets_change_nothing_else(self, cases_of):
        one, four = (cases_of(Protocol.VIDEO, frames=FRAMES, k=k) for k in (1, 4))
        assert [s.targets for s in one.cases] == [s.targets[:1] for s in four.cases]
        more = cases_of(Protocol.VIDEO, frames=FRAMES, count=4 * FRAMES - 3)
        assert more.cases[: 2 * FRAMES] == one.cases
        assert len(more) == 4 * FRAMES, "whole sequences"
        assert len({s.clip for s in more.cases}) == 4

    def test_frames_without_a_face_are_left_out(self):
        starts, length = _starts(np.array([i not in (10, 22) for i in range(40)]), 8)
        assert length == 8
        assert starts.tolist() == [0, 1, 2, 11, 12, 13, 14, *range(23, 33)]
        assert len(_starts(np.array([i % 3 == 0 for i in range(40)]), 8)[0]) == 0
        assert _starts(np.array([True] * 7), 8)[1] == 3, "half of the clip at most"
        assert len(_starts(np.array([True] * 5), 8)[0]) == 0

    def test_refusals(self, pack, packs, cases_of):
        with pytest.raises(ReenactError, match="3 frames or more"):
            cases_of(Protocol.VIDEO, frames=2)
        with pytest.raises(ReenactError, match="leave out --targets"):
            choose_cases(Packs(pack, pack), Protocol.VIDEO, split=Split.TRAIN)
        with pytest.raises(ReenactError, match="no clips in its split val"):
            choose_cases(packs, Protocol.VIDEO, split=Split.VAL)
        with pytest.raises(ReenactError, match="clips of 0 people"):
            choose_cases(packs, Protocol.VIDEO_DIFFERENT, split=Split.VAL)


class TestFlicker:
    @pytest.mark.parametrize(
        ("levels", "wanted"),
        [
            ([7] * 6, 0.0),
            ([10, 30, 50, 70], 0.0),
            ([0, 1, 4, 9, 16, 25], 2.0),
            ([200, 210, 200, 210, 200], 20.0),
            ([255, 0, 255], 510.0),
            ([0, 0, 10, 0, 0, 0], (10 + 20 + 10 + 0) / 4),
        ],
    )
    def test_known_second_differences(self, levels, wanted):
        assert flicker(film_of(levels), np.ones((64, 64), bool)) == wanted

    def test_only_what_is_inside_counts(self):
        film, mask = film_of([100] * 4), np.zeros((64, 64), bool)
        mask[:16] = True
        film[1::2, 16:] = 0
        assert flicker(film, mask) == 0
        film[1::2, :4] = 110
        assert flicker(film, mask) == 5, "20 on a quarter of it"

    def test_too_little_tells_nothing(self):
        mask = np.zeros((64, 64), bool)
        mask[0, :20] = True
        assert np.isnan(flicker(film_of([1, 2, 3]), mask))
        assert np.isnan(flicker(film_of([1, 2]), ~mask))

    def test_still_is_what_neither_moves_nor_lies_at_the_face(self):
        head = mean_face().points
        mesh = (head - head.mean(axis=0)) * 40 / np.ptp(head[:, 0]) + (64, 64, 0)
        truth = film_of([90] * 5, 128)
        truth[:, :10] = film_of([90, 90 + 10, 90, 90 + 10, 90], 128)[:, :10]
        truth[:, -10:] = film_of([90, 90 + 2, 90, 90 + 2, 90], 128)[:, -10:]
        moved = mesh + np.array([15.0, 0.0, 0.0])
        meshes = np.stack([mesh, moved, mesh, mesh, mesh]).astype(np.float32)
        still = still_background(truth, meshes)
        assert not still[:10].any(), "a deviation of 4.9"
        assert still[-10:].all(), "a deviation of 1"
        right, left = mesh[list(OUTER_EYE_CORNERS), :2]
        margin = 0.3 * np.linalg.norm(left - right)
        yy, xx = np.mgrid[:128, :128]
        points = np.concatenate([mesh, moved])[:, :2]
        near = np.min(np.hypot(xx[..., None] - points[:, 0], yy[..., None] - points[:, 1]), axis=2) < margin - 1.5
        assert not (still & near).any(), "in any of the frames"
        assert still[:, :20][10:].all()
        assert 1 < STILL_LEVELS < 4.9

    def test_distance_to_the_face(self):
        """Beside the face as far as from its outermost point, and 0 in the middle."""
        head = mean_face().points
        mesh = ((head - head.mean(axis=0)) * 40 / np.ptp(head[:, 0]) + (64, 64, 0)).astype(np.float32)
        away = distance_to_face(mesh, 128)
        assert away[64, 64] == 0
        leftmost = mesh[mesh[:, 0].argmin()]
        assert away[round(leftmost[1]), 5] == pytest.approx(leftmost[0] - 5, abs=1.5)

    def test_ratio(self):
        values = np.array([[1.0, 2.0], [0.0, 0.0], [5.0, 2.0], [np.nan, np.nan]])
        assert ratio_of_means(values) == 1.5
        assert np.isnan(ratio_of_means(values[1:2]))


@pytest.fixture(scope="module")
def disturbed(packs):
    """Write the drivers' pictures with every other one so many levels brighter, and pixels farther to the right."""

    def write(folder, cases, *, levels=0, shift_px=0):
        folder.mkdir(parents=True)
        (folder / "cases.json").write_text(cases.to_json())
        pictures = packs.driver.pictures([one.driver for one in cases], cases.size)
        for i, one in enumerate(cases.cases):
            picture = np.roll(pictures[one.driver].astype(np.int16), shift_px * (i % 2), axis=1) + levels * (i % 2)
            write_image(folder / f"{one.id}.png", np.clip(picture, 0, 255).astype(np.uint8))
        return folder

    return write


@pytest.fixture(scope="module", params=BOTH, ids=lambda p: p.value)
def scored(request, cases_of, packs, copies, disturbed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    cases = cases_of(request.param, frames=FRAMES, size=128)
    drawn = [
        export(packs, cases, Entry("warp"), folder / "warp"),
        open_predictions(copies(folder / "copied", cases, "driver")),
        open_predictions(disturbed(folder / "noisy", cases, levels=12)),
        open_predictions(disturbed(folder / "shaken", cases, shift_px=2)),
    ]
    return measure_all(drawn, packs, folder / "cache")


class TestScores:
    def test_copies_and_noise(self, scored):
        plain = {(one.score, one.method): one for one in scored.results() if one.against is None}
        truth = scored.cases.protocol.has_truth
        assert ("flicker_ratio" in {score for score, _ in plain}) == truth
        assert ("psnr" in {score for score, _ in plain}) == truth
        for score in ("jitter_ratio", *(["flicker_ratio"] if truth else [])):
            for method in (DRIVER_COPY, "copied"):
                assert plain[score, method].value == pytest.approx(1, abs=1e-6)
            assert plain[score, TARGET_COPY].value == 0
            assert plain[score, "warp"].value > 0
            assert plain[score, "shaken"].value > 1.1
            assert plain[score, "warp"].counted == plain[score, "warp"].people == 2
        name = "k1_video" if truth else "k1_video_different"
        assert plain["jitter_ratio", "warp"].metric == f"jitter_ratio_{name}"
        assert plain["jitter_ratio", "warp"].transfer == ("truth" if truth else "parts")

    def test_noise_flickers_as_much_as_was_added(self, scored):
        """Every other frame 12 levels brighter: 24 of second difference, more or less what the clip itself has."""
        if scored.cases.protocol.has_truth:
            flickers = scored.scenes["noisy"].flicker
            assert (np.abs(flickers[:, 0] - 24) <= flickers[:, 1] + 0.5).all()

    def test_shaking_is_found_again(self, scored):
        """Two pixels to and fro: a second difference of four, at right angles to nothing that the driver does."""
        driver = scored.scenes[DRIVER_COPY].driver.mesh_px
        found = scored.values("jitter_ratio")["shaken"].values
        for rows, ratio in zip((slice(FRAMES), slice(FRAMES, None)), found, strict=True):
            second = np.diff(driver[rows, :, :2], 2, axis=0)
            calm = (second**2).sum(axis=2).mean()
            assert ratio**2 * calm == pytest.approx(calm + 4**2, rel=0.25)

    def test_jitter_of_tracks_made_by_hand(self, scored):
        """The driver moves by t^2, the result by 3 t^2: second differences of 2 and 6."""
        scene = scored.scenes["warp"]
        t = np.concatenate([np.arange(FRAMES)] * 2)
        square = np.stack([t**2, 0 * t, 0 * t], axis=1)[:, None]
        mesh = scene.driver.mesh_px[:1]

        def measured(drawn, driver):
            sides = [replace(scene.driver, mesh_px=np.float64(points)) for points in (drawn, driver)]
            return SCORES["jitter_ratio"].measure(replace(scene, drawn=sides[0], driver=sides[1])).values

        assert measured(mesh + 3 * square, mesh + square) == pytest.approx([3, 3])
        assert measured(mesh + 0 * square, mesh + square) == pytest.approx([0, 0])
        assert measured(mesh + 5 * t[:, None, None], mesh + square) == pytest.approx([0, 0], abs=1e-6), "no jerk"
        assert measured(2 * (mesh + square), mesh + square) == pytest.approx([1, 1]), "in eye distances"
        popped = mesh + square
        popped[2] += (4, 0, 0)  # 4, -8 and 4 on top of the four 2s
        wanted = np.sqrt((6**2 + 6**2 + 6**2 + 2**2) / (4 * 2**2))
        assert measured(popped, mesh + square) == pytest.approx([wanted, 1])
        lost = 3 * square + mesh
        lost[3] = np.nan  # leaves one triple of this sequence, and none across the gap
        lost[4:FRAMES] += 50
        assert measured(lost, mesh + square)[0] == pytest.approx(3)

    def test_table_and_figures(self, scored):
        text = write_tables(result_tables(list(scored.results())), TableFormat.MARKDOWN)
        assert f"### {scored.cases.protocol.value}, 1 target picture" in text
        assert "| jitter →1 |" in text
        assert ("| background flicker ≤1 |" in text) == scored.cases.protocol.has_truth
        assert sequence_sheet(scored, "shaken").shape == (20 + 4 * 180, FRAMES * 160, 3)


def test_no_sequences_no_sheet(cases_of, packs, copies, tmp_path):
    cases = cases_of(Protocol.SELF, count=2, size=64)
    scored = measure_all([open_predictions(copies(tmp_path / "a", cases, "driver"))], packs, tmp_path / "cache")
    with pytest.raises(ValueError, match="no consecutive frames"):
        sequence_sheet(scored, "a")


def test_a_changed_picture_changes_its_sequence_alone(cases_of, pack, copies, tmp_path, monkeypatch):
    cases = cases_of(Protocol.VIDEO, frames=4, size=64)
    folder = copies(tmp_path / "tool", cases, "driver")
    measured = []
    monkeypatch.setattr(measurements, "flicker", lambda *args: measured.append(1) or flicker(*args))

    def score():
        measured.clear()
        results = score_folders([folder], tmp_path / "out", data=pack, figures=False)
        found = {one.method: one.value for one in results if one.score == "flicker_ratio" and one.against is None}
        return found["tool"], len(measured)

    assert score() == (1, 4), "both clips, true and drawn"
    assert score() == (1, 0)
    path = folder / f"{cases[1].id}.png"
    write_image(path, (read_image(path) * 0.8).astype(np.uint8))
    value, again = score()
    assert value > 1
    assert again == 1


def test_by_command(pack, tmp_path, capsys):
    top = argparse.ArgumentParser()
    evaluate.add_parser(top.add_subparsers())
    data = ("--data", pack, "--split", "train", "--frames", 4, "--size", 64, "--workers", 0)
    arguments = ("run", "--protocol", "video", "--cases", 1, *data, "--out", tmp_path)
    args = top.parse_args(["evaluate", *map(str, arguments)])
    assert args.run(args) == 0
    printed = capsys.readouterr().out
    assert "### video, 1 target picture" in printed
    assert [path.name for path in (tmp_path / "figures").glob("sequence_*")] == ["sequence_k1_video_hybrid.png"]
    assert printed == (tmp_path / "tables.md").read_text()
