"""Tuning to a person: a made-up person whose frames are all browner than the photos, which is quickly learned."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from factories import head, posed
from reenactor.core import ReenactError
from reenactor.engine import tuning
from reenactor.engine.loading import tuned_model
from reenactor.engine.tuning import (
    STATE,
    HeldOut,
    PersonFrames,
    TuningSettings,
    check_tunable,
    tune,
)
from reenactor.face.geometry import mean_face
from reenactor.models import create_model
from small_models import small

SIZE = 64
QUICK = TuningSettings(learning_rate=2e-3, batch_size=2, photos=2, checks=2, checked=4, average_pairs=8)


@pytest.fixture(scope="module")
def model():
    return small("hybrid")


@pytest.fixture(scope="module")
def person():
    """Two photos and 30 frames of 3 seconds; the face nods a little."""
    picture = cv2.resize(head(), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    brown = (picture * [0.8, 0.6, 0.4]).astype(np.uint8)
    points = mean_face().points
    meshes = np.stack([posed(points, (0, 6 * np.sin(i), 0), scale=22, at=(32, 32)) for i in range(30)])
    return PersonFrames(
        photos=np.stack([picture, picture]),
        photo_mesh_px=meshes[[0, 15]],
        photo_times_s=np.array([0.0, 1.5]),
        frames=np.stack([brown] * 30),
        mesh_px=meshes,
        times_s=np.arange(30) / 10,
    )


def tuned(model, person, folder, steps=12, settings=QUICK, **more):
    return tune(model, person, minutes=10, folder=folder, steps=steps, settings=settings, **more)


def same(one, other):
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


@pytest.fixture(scope="module")
def learned(model, person, tmp_path_factory):
    return tuned(model, person, tmp_path_factory.mktemp("tuned"))


def test_what_it_learned_brings_frames_that_it_never_saw_nearer_to_the_truth(model, person, learned):
    about = learned.about
    assert about["distance_after"] < 0.95 * about["distance_before"]
    assert about["bias_after"] < about["bias_before"]
    assert (about["steps"], about["pairs"]) == (12, 24)
    assert (learned.model, learned.version) == ("hybrid", model.version)
    assert {one.dtype for one in learned.difference.values()} == {np.dtype(np.float16)}
    assert sum(one.nbytes for one in learned.difference.values()) <= 2 * sum(p.numel() for p in model.parameters())
    # The distance is that of the weights as they are stored.
    changed = tuned_model(model, learned)
    held_out = tuning._Run(changed, person, 1, tuning.Path("."), 1, QUICK)
    found = held_out._held_out(held_out.objective.generator)
    assert (found.distance, found.bias) == pytest.approx((about["distance_after"], about["bias_after"]), rel=1e-4)


def test_blur_is_no_gain_if_it_only_lowers_the_distance():
    untuned = HeldOut(0.36, 0.05)
    assert HeldOut(0.35, 0.05).over(untuned) < 1
    assert HeldOut(0.35, 0.07).over(untuned) > 1
    assert HeldOut(0.36, 0.04).over(untuned) < 1


def test_the_model_itself_stays_as_it_was(model, learned):
    assert same(model.state_dict(), small("hybrid").state_dict())


def test_weights_that_came_no_nearer_are_not_kept(model, person, tmp_path):
    found = tuned(model, person, tmp_path, steps=8, settings=replace(QUICK, learning_rate=0.5))
    assert found.difference == {}
    before, after = (
        HeldOut(*(found.about.get(f"{name}_{when}", np.inf) for name in ("distance", "bias")))
        for when in ("before", "after")
    )
    assert not after.over(before) < 1


def test_a_loss_that_is_not_finite_ends_it_with_what_was_best(model, person, tmp_path, monkeypatch):
    made = tuning._Pairs.batch

    def broken(self, rng):
        batch = made(self, rng)
        broken.count += 1
        return replace(batch, truth=batch.truth * torch.nan) if broken.count > 7 else batch

    broken.count = 0
    monkeypatch.setattr(tuning._Pairs, "batch", broken)
    found = tuned(model, person, tmp_path)
    assert found.difference
    assert found.about["steps"] == 8
    assert all(np.isfinite(one).all() for one in found.difference.values())


class StoppedError(Exception):
    pass


class Stopping:
    """Stops after some steps, as Ctrl-C would."""

    def __init__(self, after):
        self.after, self.seen = after, []

    def start(self, what, done, total):
        self.seen.append(done)

    def step(self, done, total):
        self.seen.append(done)
        if done == self.after:
            raise StoppedError

    def end(self):
        pass


def test_a_stopped_tuning_ends_as_one_that_was_not(model, person, learned, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(StoppedError):
        tuned(model, person, tmp_path, progress=Stopping(6))
    progress = Stopping(None)
    found = tuned(model, person, tmp_path, progress=progress)
    assert progress.seen[:2] == [6, 7]
    assert same(found.difference, learned.difference)
    assert found.about | {"seconds": 0} == learned.about | {"seconds": 0}
    again = tuned(model, person, tmp_path, progress=progress)
    assert same(again.difference, learned.difference)
    assert again.about["seconds"] == pytest.approx(found.about["seconds"])


def test_only_the_clock_ends_it_if_steps_are_not_limited(model, person, tmp_path):
    found = tune(model, person, minutes=1 / 60, folder=tmp_path, settings=QUICK)
    assert found.about["steps"] > 0
    assert 1 <= found.about["seconds"] < 20


@pytest.mark.parametrize("damage", ["cut short", "another person", "no numbers"])
def test_a_state_that_does_not_fit_begins_anew(model, person, tmp_path, damage):
    tuned(model, person, tmp_path, steps=1)
    state = tmp_path / STATE
    if damage == "cut short":
        state.write_bytes(state.read_bytes()[:-100])
    elif damage == "another person":
        tuned(model, replace(person, times_s=person.times_s * 1.01), tmp_path, steps=1)
    else:
        tuning.write_atomically(state, tuning.save(load_file(state)))
    progress = Stopping(None)
    found = tuned(model, person, tmp_path, steps=2, progress=progress)
    assert (progress.seen[0], found.about["steps"]) == (0, 2)


def test_frames_are_drawn_from_photos_of_other_times(model, person):
    objective = tuning.METHODS["hybrid"].tuned(model, {})
    times_s = np.array([0.0, 1.0, 1.2, 2.9])
    photos = person.photos[[0, 0, 0, 0]], person.mesh_px[[0, 10, 12, 29]], times_s
    given = PersonFrames(*photos, person.frames, person.mesh_px, person.times_s)
    pairs = tuning._Pairs(given, objective, TuningSettings(), torch.device("cpu"))
    for time_s, sources in zip(given.times_s, pairs._sources, strict=True):
        assert (np.abs(times_s[sources] - time_s) >= 2.9 / 6 - 1e-9).all()
    # The first photo comes first wherever it may be used, and then the likest.
    assert (pairs._sources[6:, 0] == 0).all()
    assert pairs._sources[20, 1] in (1, 2)
    held = set(pairs._held.tolist())
    assert held == {26, 27, 28, 29}
    assert not held & set(pairs.learned.tolist())
    assert max(pairs.learned) < 25


def test_mirrored_pairs_are_mirrored_whole(model, person):
    pairs = tuning._Pairs(person, tuning.METHODS["hybrid"].tuned(model, {}), QUICK, torch.device("cpu"))
    numbers = np.array([3, 20])
    plain, turned = (pairs._made(numbers, np.full(2, on)) for on in (False, True))
    assert torch.equal(plain.truth.flip(-1), turned.truth)
    assert torch.equal(plain.targets.flip(-1), turned.targets)
    # The outer corners of the eyes change sides.
    for before, after in ((plain.driver_mesh, turned.driver_mesh), (plain.target_mesh, turned.target_mesh)):
        torch.testing.assert_close(after[..., 33, 0], SIZE - 1 - before[..., 263, 0])


def test_too_few_frames_and_models_without_losses_are_refused(model, person, tmp_path):
    few = replace(person, frames=person.frames[:20], mesh_px=person.mesh_px[:20], times_s=person.times_s[:20])
    with pytest.raises(ReenactError, match=r"needs 24 frames.*there are 20; use a longer video"):
        tuned(model, few, tmp_path)
    warp = create_model("warp")
    check_tunable(model)
    with pytest.raises(ReenactError, match="'warp' cannot be tuned to a person; choose one of: hybrid"):
        tuned(warp, person, tmp_path)


def test_photos_of_another_size_are_brought_to_the_networks(model, person):
    large = replace(
        person,
        photos=np.stack([cv2.resize(one, (128, 128)) for one in person.photos]),
        photo_mesh_px=(person.photo_mesh_px + np.float32([0.5, 0.5, 0])) * 2 - np.float32([0.5, 0.5, 0]),
    )
    small_again = large.at(SIZE)
    np.testing.assert_allclose(small_again.photo_mesh_px, person.photo_mesh_px, atol=1e-4)
    assert np.abs(small_again.photos.astype(int) - person.photos).mean() < 4
    assert np.array_equal(small_again.frames, person.frames)
