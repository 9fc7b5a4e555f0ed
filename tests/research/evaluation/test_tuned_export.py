"""Methods that are tuned to a person before they draw: on what they are tuned, once a clip, and where not."""

import json
import sys

import numpy as np
import pytest

from reenactor.core import ReenactError
from reenactor.engine.tuning import STATE
from reenactor.media.person_file import Tuning
from reenactor.models import create_model
from reenactor.research.evaluation import Entry, Protocol, export, protocols
from reenactor.research.evaluation.predictions import read_prediction


@pytest.fixture
def cases(cases_of, monkeypatch):
    monkeypatch.setattr(protocols, "LEAST_PERSON_S", 1.0)
    return cases_of(Protocol.PERSON, count=4, k=4, size=64)


@pytest.fixture
def calls(monkeypatch):
    """Instead of tuning, what adds so much brightness to all that is drawn."""
    seen = []
    name = "generator.head.conv2.bias"

    def learn(model, person, *, minutes, folder):
        seen.append((person, minutes))
        (folder / STATE).touch()
        bright = {name: np.full(model.state_dict()[name].shape, 0.3, np.float16)}
        return Tuning(model.name, model.version, bright, {"steps": 1})

    monkeypatch.setattr(sys.modules["reenactor.research.evaluation.export"], "tune", learn)
    return seen


def test_each_clip_is_tuned_once_on_its_first_half(packs, cases, calls, tmp_path):
    plain = export(packs, cases, Entry("hybrid"), tmp_path / "plain")
    tuned = export(packs, cases, Entry("hybrid", tune=5), tmp_path / "tuned")
    assert tuned.method.name == "hybrid (tuned 5 min)"
    assert tuned.method.config["tuned_minutes"] == 5
    assert tuned.method.config["tuning"]["batch_size"] > 0
    clips = {case.clip: case for case in cases}
    assert [minutes for _, minutes in calls] == [5] * len(clips)
    for person, case in zip((person for person, _ in calls), sorted(clips.values(), key=lambda c: c.clip), strict=True):
        clip = packs.driver.sample(case.clip)
        half_s = clip.times_s[-1] / 2
        np.testing.assert_allclose(person.times_s, clip.times_s[clip.seen & (clip.times_s < half_s)])
        assert len(person.frames) == len(person.mesh_px) == len(person.times_s)
        numbers = [frame.number for frame in case.targets]
        np.testing.assert_array_equal(person.photos, clip.frames(numbers, size=64))
        np.testing.assert_allclose(person.photo_times_s, clip.times_s[numbers])
    for case in cases:
        one, other = (read_prediction(found.path(case), 64).astype(int) for found in (plain, tuned))
        assert (other - one).mean() > 10
        folder = tmp_path / "tuned" / "tuned" / case.clip
        assert [path.name for path in folder.iterdir()] == ["difference.safetensors"]
    # One that was stopped draws the rest with what was learned before.
    tuned.path(cases[0]).unlink()
    export(packs, cases, Entry("hybrid", tune=5), tmp_path / "tuned")
    assert len(calls) == len(clips)
    assert not tuned.missing()
    manifest = json.loads((tmp_path / "tuned" / "manifest.json").read_text())
    assert manifest["method"]["config"]["tuned_minutes"] == 5
    assert create_model("hybrid").state_dict()["generator.head.conv2.bias"].abs().max() < 0.3


def test_other_protocols_and_models_are_refused(packs, cases, cases_of, tmp_path):
    with pytest.raises(ReenactError, match=r"the protocol self keeps no half .* --protocol person"):
        export(packs, cases_of(Protocol.SELF), Entry("hybrid", tune=1), tmp_path / "self")
    with pytest.raises(ReenactError, match="'warp' cannot be tuned to a person; choose one of: hybrid"):
        export(packs, cases, Entry("warp", tune=1), tmp_path / "warp")
