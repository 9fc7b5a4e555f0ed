"""A person file made of a video draws what the video draws; a tuned one draws with its weights, or says why not."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from factories import head, psnr, write_clip
from reenactor import ReenactError, Reenactor, animate
from reenactor.core import CheckpointError, Options, Runtime
from reenactor.engine import person as person_module
from reenactor.engine.loading import fits, load_model, tuned_model
from reenactor.engine.person import described, make_person
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.face.perception.photo_check import Finding
from reenactor.media import read_motion, write_image
from reenactor.media.person_file import Tuning, read_person, target_files, write_person
from small_models import small

TALK = read_motion(shipped_motions()["talk"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """me.mp4, a person who talks, with more around the face than models see; and me.person of it."""
    folder = tmp_path_factory.mktemp("person")
    r = Reenactor("warp", size=256)
    r.set_target([demo_photo()])
    shown = [frame.image for frame, _ in zip(r.drive(TALK.between(0.5, 3.0)), range(30), strict=False)][::2]
    write_clip(folder / "me.mp4", shown, [*range(len(shown))], Fraction(1, 25))
    write_person(folder / "me.person", make_person([folder / "me.mp4"]))
    return folder


@pytest.fixture(scope="module")
def person(folder):
    return read_person(folder / "me.person")


def drawn(target, model="warp", **options):
    r = Reenactor(model, size=128, **options)
    r.set_target([target])
    return r, [frame.image for frame in r.drive(replace(TALK.between(1, 1.5), about={}))]


class TestMade:
    def test_what_it_keeps(self, folder, person):
        first, *others = person.pictures
        assert len(others) >= 3
        assert first.pixels().shape == demo_photo().shape
        for one in others:
            pixels = one.pixels()
            assert max(pixels.shape[:2]) < 420
            low, high = one.mesh_px[:, :2].min(0), one.mesh_px[:, :2].max(0)
            assert (low > 0).all()
            assert (high < pixels.shape[1::-1]).all()
        assert [one.frame for one in others] == sorted({one.frame for one in others})
        assert (person.sources[0].name, len(person.sources)) == ("me.mp4", 1)
        assert (folder / "me.person").stat().st_size < 2e6

    @pytest.mark.parametrize("model", ["warp", "oneshot"])
    def test_draws_what_the_video_draws(self, folder, model):
        r, ours = drawn(folder / "me.person", model)
        _, theirs = drawn(folder / "me.mp4", model)
        assert len(r.target.all_mesh_px) > 1
        for one, other in zip(ours, theirs, strict=True):
            assert psnr(one, other) > 36

    def test_crops_are_those_of_the_whole_frames(self, folder):
        ours, theirs = (drawn(folder / name, "hybrid", head_movement=0.5)[0].target for name in ("me.person", "me.mp4"))
        assert np.abs(ours.all_mesh_px - theirs.all_mesh_px).max() < 0.01
        for one, other in zip(ours.portrait.crops, theirs.portrait.crops, strict=True):
            assert psnr(one, other) > 33

    def test_shrunk_as_photos_are(self, folder):
        r = Reenactor("warp", size=64, max_side=128)
        target = r.set_target([folder / "me.person"])
        assert target.photo.shape == (128, 128, 3)
        assert target.mesh_px[:, :2].max() < 64

    def test_rest_and_ranges_are_of_all_that_was_seen(self, folder, person):
        low, high = person.ranges
        assert (low <= high).all()
        assert high[2] - low[2] > 0.05
        r, _ = drawn(folder / "me.person")
        assert r.target.neutral is not None
        r.set_target([folder / "me.person", head()])
        assert r.target.neutral is None
        assert not r.target.other_people

    def test_of_photos(self, folder, tmp_path):
        write_image(tmp_path / "a.png", demo_photo())
        made = make_person([tmp_path / "a.png", folder / "me.mp4"])
        assert [one.source for one in made.pictures][:2] == [1, 2]
        assert made.pictures[0].frame is None
        assert [one.name for one in made.sources] == ["a.png", "me.mp4"]
        assert "a.png: 1 picture" in described(made)
        lines = described(made)
        assert "the head turned to one side and the other" in lines[-1]

    def test_what_is_shown_is_not_asked_for(self, person):
        far = person.ranges.copy()
        far[:, 0], far[:, 2], far[:, 4] = (-30, 30), (0, 0.4), (0, 0.1)
        assert len(described(replace(person, ranges=far))) == 2

    def test_the_manifest_names_the_sources(self, folder, tmp_path):
        write_image(tmp_path / "driver.png", demo_photo())
        report = animate(
            [folder / "me.person"], tmp_path / "driver.png", tmp_path / "o.png", Options(model="warp", size=64)
        )
        assert report.claim is not None
        assert [one.name for one in report.claim.inputs] == ["me.person", "me.mp4", "driver.png"]
        assert report.claim.inputs[1] == target_files([folder / "me.mp4"])[0]


class TestTuned:
    def test_it_learns_from_all_frames_of_the_video(self, folder, monkeypatch, tmp_path):
        seen = []

        def learn(model, given, *, minutes, folder, progress):
            seen.append((model, given, minutes, folder))
            return Tuning(model.name, model.version, {}, {"steps": 3, "seconds": 61})

        monkeypatch.setattr(person_module, "tune", learn)
        model = small("hybrid")
        write_image(tmp_path / "a.png", demo_photo())
        made = make_person([tmp_path / "a.png", folder / "me.mp4"], minutes=2, model=model, folder=tmp_path)
        ((tuned, given, minutes, where),) = seen
        assert (tuned, minutes, where) == (model, 2, tmp_path)
        assert len(given.frames) == 15
        assert given.frames.shape[1:] == given.photos.shape[1:] == (64, 64, 3)
        assert np.isinf(given.photo_times_s[0])
        assert (np.diff(given.times_s) > 0).all()
        assert set(given.photo_times_s[1:]) <= set(given.times_s)
        # The video's first picture, in whose crop all its frames are.
        (same,) = np.flatnonzero(given.times_s == given.photo_times_s[1])
        assert np.array_equal(given.frames[same], given.photos[1])
        assert np.array_equal(given.mesh_px[same], given.photo_mesh_px[1])
        assert described(made)[-1].startswith("'hybrid' stays untuned: 3 steps in 1.0 min brought it no nearer")
        r = Reenactor(model, size=64)
        write_person(tmp_path / "me.person", made)
        target = r.set_target([tmp_path / "me.person"])
        assert r.model is model
        assert not any(one.finding is Finding.OTHER_WEIGHTS for one in target.warnings)

    def test_what_cannot_be_tuned(self, folder, tmp_path):
        with pytest.raises(ReenactError, match="'oneshot' cannot be tuned"):
            make_person([folder / "me.mp4"], minutes=1, model=small("oneshot"))
        with pytest.raises(ReenactError, match="for 0 to 60 minutes, not nan"):
            make_person([folder / "me.mp4"], minutes=float("nan"))
        write_image(tmp_path / "a.png", demo_photo())
        with pytest.raises(ReenactError, match="there are only photos; add a video"):
            make_person([tmp_path / "a.png"], minutes=1, model=small("hybrid"))
        with pytest.raises(ReenactError, match="use a longer video"):
            make_person([folder / "me.mp4"], minutes=1, model=small("hybrid"))

    @pytest.fixture
    def plain(self):
        return small("hybrid")

    @pytest.fixture
    def tuning(self, plain):
        name, weight = next((name, one) for name, one in plain.state_dict().items() if name.endswith("conv2.bias"))
        return Tuning(
            "hybrid", plain.version, {name: np.full(weight.shape, 0.25, np.float16)}, {"steps": 1, "seconds": 60}
        )

    def test_its_weights_draw_and_the_model_comes_back(self, folder, person, plain, tuning, tmp_path):
        write_person(tmp_path / "tuned.person", replace(person, tuning=tuning))
        r = Reenactor(plain, size=64)
        r.set_target([folder / "me.person"])
        mesh = r.target.mesh_px
        before = r.draw(mesh)
        r.set_target([tmp_path / "tuned.person"])
        assert not any(one.finding is Finding.OTHER_WEIGHTS for one in r.target.warnings)
        assert r.model.version.startswith(f"{plain.version}-")
        assert np.abs(r.draw(mesh).astype(int) - before).max() > 5
        r.set_target([folder / "me.person"])
        assert r.model is plain
        assert (r.draw(mesh) == before).all()

    @pytest.mark.parametrize("other", [{"model": "oneshot"}, {"version": "4-abc"}])
    def test_other_weights_draw_untuned_and_it_says_so(self, person, plain, tuning, tmp_path, other):
        write_person(tmp_path / "tuned.person", replace(person, tuning=replace(tuning, **other)))
        r = Reenactor(plain, size=64)
        r.set_target([tmp_path / "tuned.person"])
        assert r.model is plain
        (notice,) = (one for one in r.target.warnings if one.finding is Finding.OTHER_WEIGHTS)
        assert "is drawn untuned" in notice.text(["tuned.person"])

    def test_weights_that_do_not_fit(self, plain, tuning):
        (name, change), *_ = tuning.difference.items()
        for wrong in ({name: change[:-1]}, {"nobody's": change}):
            with pytest.raises(CheckpointError, match="tuned on other weights"):
                tuned_model(plain, replace(tuning, difference=wrong))

    def test_the_same_weights_in_another_runtime(self, plain, tuning):
        assert not fits(replace(tuning, version=plain.version + "1"), plain)
        plain.version += "-openvino-bf16"
        assert fits(tuning, plain)

    def test_fast_runtimes_draw_with_them(self, tuning, monkeypatch):
        from reenactor.engine import loading

        given = []
        monkeypatch.setattr(loading, "fast_model", lambda model, runtime, device: given.append(model) or model)
        plain = load_model("hybrid")
        name, weight = next(iter(plain.state_dict().items()))
        change = np.full(weight.shape, 0.5, np.float16)
        tuning = replace(tuning, version=plain.version, difference={name: change})
        load_model("hybrid", runtime=Runtime.AUTO, tuning=tuning)
        moved = given[0].state_dict()[name] - weight
        np.testing.assert_allclose(moved.numpy(), 0.5, atol=1e-6)


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "arguments", "says"),
        [
            ({}, {"still": 0}, "the first target is a person file, which has one that moves"),
            ({}, {"face": 1}, "a person file holds one face"),
            ({"alpha": True}, {}, "has no transparency to keep"),
        ],
    )
    def test_what_a_person_file_decides(self, folder, options, arguments, says):
        r = Reenactor("warp", size=64, **options)
        with pytest.raises(ReenactError, match=says):
            r.set_target([folder / "me.person"], **arguments)

    def test_sources(self, folder):
        with pytest.raises(ReenactError, match="is a person already"):
            make_person([folder / "me.person"])
        with pytest.raises(ReenactError, match="give one to 32"):
            make_person([])
        with pytest.raises(ReenactError, match="give one to 32"):
            make_person([folder / "me.mp4"] * 33)

    def test_a_damaged_one(self, folder, tmp_path):
        (tmp_path / "me.person").write_bytes((folder / "me.person").read_bytes()[:5000])
        with pytest.raises(CheckpointError, match="or is damaged; make it again"):
            Reenactor("warp", size=64).set_target([tmp_path / "me.person"])
