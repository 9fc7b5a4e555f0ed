"""The neutral frame among synthetic expressions."""

import numpy as np
import pytest
from faces import shape

from factories import posed
from reenactor.face.retarget import neutral_frame


def clip(seed, neutral_at, length=60, angles_deg=(0.0, 0.0, 0.0), scale=80.0):
    """Meshes that talk, blink, smile and turn, all but one."""
    rng = np.random.default_rng(seed)
    meshes = []
    for i in range(length):
        if i == neutral_at:
            meshes.append(posed(shape(seed=seed, opening=-0.06), angles_deg=angles_deg, scale=scale))
            continue
        blink = rng.uniform(0.1, 0.5) if i % 4 == 0 else 1.0
        face = shape(
            seed=seed,
            opening=rng.uniform(0.02, 0.15) if i % 3 else -0.06,
            smile=rng.uniform(0.05, 0.1) * (1 if i % 2 else -1) if i % 3 == 0 else 0.0,
            eyes=(blink, blink),
        )
        away = rng.normal(0, 1, 3)
        turn = np.array(angles_deg) + away / np.linalg.norm(away) * rng.uniform(10, 20)
        meshes.append(posed(face, angles_deg=turn, scale=scale * rng.uniform(0.9, 1.1), at=rng.uniform(90, 160, 2)))
    return np.stack(meshes)


@pytest.mark.parametrize("neutral_at", [0, 17, 59])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_frame_is_found(seed, neutral_at):
    assert neutral_frame(clip(seed, neutral_at)) == neutral_at


def test_head_at_rest_need_not_face_the_camera():
    assert neutral_frame(clip(2, 23, angles_deg=(20.0, -10.0, 5.0))) == 23


def test_unseen_frames_are_ignored():
    meshes, seen = clip(0, 17), np.ones(60, bool)
    seen[17] = False
    chosen = neutral_frame(meshes, seen)
    assert chosen != 17
    # The numbering stays that of all frames, and what unseen frames hold does not matter.
    meshes[17] = posed(shape(opening=0.4), scale=500)
    assert neutral_frame(meshes, seen) == chosen
    seen[:] = False
    seen[[5, 40]] = True
    assert neutral_frame(meshes, seen) in (5, 40)


@pytest.mark.parametrize(
    "unrest",
    [
        {"opening": 0.1},
        {"eyes": (0.2, 0.2)},
        {"eyes": (1.0, 0.3)},
        {"smile": 0.08},
        {"smile": -0.08},
        {"brows": 0.08},
    ],
)
def test_each_kind_of_unrest_counts(unrest):
    # Against frames that are calm but for a head turned by 4 degrees either way, which costs a little.
    calm = [posed(shape(), angles_deg=(yaw_deg, 0, 0)) for yaw_deg in (4, -4, 4, -4)]
    assert neutral_frame(np.stack([posed(shape()), *calm])) == 0
    assert neutral_frame(np.stack([posed(shape(**unrest)), *calm])) > 0


def test_a_turned_head_counts():
    frames = [posed(shape(), angles_deg=(30, 0, 0))] + [posed(shape())] * 3
    assert neutral_frame(np.stack(frames)) == 1


def test_a_single_frame_is_the_neutral_one():
    assert neutral_frame(posed(shape(opening=0.2))[None]) == 0


def test_long_drivers_are_sampled_evenly():
    meshes = np.repeat(posed(shape(opening=0.15))[None], 1500, axis=0)
    meshes[600:900] = posed(shape(opening=-0.06))
    assert 600 <= neutral_frame(meshes) < 900


def test_nothing_seen_falls_back_to_all_frames():
    assert neutral_frame(clip(0, 17), np.zeros(60, bool)) == 17
