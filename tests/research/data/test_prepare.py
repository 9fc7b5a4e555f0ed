"""`reenactor prepare` on real pixels: clips of the astronaut moved by the shipped motions."""

import json
import os
import time
import warnings
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from reenactor.cli.main import main
from reenactor.core import Landmarks, ReenactError
from reenactor.engine import Reenactor
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.face.perception import FaceFinder
from reenactor.face.perception.identity import SAME_PERSON_DISTANCE, IdentityEmbedder
from reenactor.media import VideoReader, VideoWriter, read_motion, write_image
from reenactor.research.data import FaceBoxes, Item, Kind, Plan, Settings, ShardReader, Split
from reenactor.research.data.frames import decode_frames
from reenactor.research.data.items import FrameFiles
from reenactor.research.data.prepare import prepare
from reenactor.research.data.process import fingerprint, process_item

FRAMES = 36
RATE = 25


def write_clip(path, frames):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, size=(width, height), time_base=Fraction(1, RATE), rate_hint=Fraction(RATE)) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i)


@pytest.fixture(scope="module")
def talking():
    """The astronaut, talking: 512 x 512."""
    reenactor = Reenactor("warp", size=256)
    reenactor.set_target([demo_photo()])
    motion = read_motion(shipped_motions()["talk"]).between(0.0, FRAMES / RATE)
    return [result.image for result in reenactor.drive(motion)][:FRAMES]


@pytest.fixture(scope="module")
def data_set(talking, tmp_path_factory):
    """A folder with everything that happens in practice."""
    root = tmp_path_factory.mktemp("data set")
    (root / "eileen").mkdir()
    write_clip(root / "eileen" / "talk.mp4", talking)
    # A tight square crop, then a scene without a face, then the face elsewhere in the picture.
    tight = [frame[40:240, 122:322] for frame in talking]
    nobody = [np.full((200, 200, 3), 60, np.uint8)] * 20
    moved = [np.roll(frame[0:300, 70:370], 40, axis=1)[:200, 50:250] for frame in talking[:20]]
    write_clip(root / "eileen" / "cuts.mp4", [*tight[:20], *nobody, *moved])
    write_image(root / "eileen" / "photo.jpg", demo_photo())
    write_image(root / "empty room.png", np.full((300, 300, 3), 128, np.uint8))
    write_image(root / "far.png", cv2.resize(demo_photo(), (100, 100), interpolation=cv2.INTER_AREA))
    (root / "broken.mp4").write_bytes(b"\0" * 5000)
    whole = (root / "eileen" / "talk.mp4").read_bytes()
    (root / "cut short.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (root / "nothing.jpg").touch()
    return root


@pytest.fixture(scope="module")
def pack(data_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "pack"
    prepare(Plan(data_set, out))
    return ShardReader(out)


def of(pack, name):
    return [sample for sample in pack if sample.row["source"] == name]


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


class TestClip:
    def test_steady_crop_of_every_frame(self, pack, talking, data_set):
        (sample,) = of(pack, "eileen/talk.mp4")
        crop = sample.meta["crop"]
        frames = sample.frames()
        assert frames.shape == (FRAMES, 256, 256, 3)
        with VideoReader(data_set / "eileen" / "talk.mp4") as reader:
            for i, frame in enumerate(reader):
                rows = slice(crop["top"], crop["top"] + crop["side"])
                columns = slice(crop["left"], crop["left"] + crop["side"])
                cut = cv2.resize(frame.image[rows, columns], (256, 256), interpolation=cv2.INTER_AREA)
                if crop["side"] < 256:
                    cut = cv2.resize(frame.image[rows, columns], (256, 256), interpolation=cv2.INTER_CUBIC)
                assert np.abs(frames[i].astype(int) - cut).mean() < 4

    def test_times(self, pack):
        (sample,) = of(pack, "eileen/talk.mp4")
        np.testing.assert_allclose(sample.times_s, np.arange(FRAMES) / RATE)
        assert sample.row["duration_s"] == pytest.approx(FRAMES / RATE)
        assert sample.row["fps"] == pytest.approx(RATE)

    def test_landmarks_are_of_the_crop(self, pack):
        """Against another look: the finder on the decoded crop."""
        (sample,) = of(pack, "eileen/talk.mp4")
        with FaceFinder() as finder:
            for i in (0, 20):
                there = finder.observe(sample.frames([i])[0])
                apart = np.linalg.norm(there.landmarks.mesh[:, :2] - sample.landmarks[i, :, :2], axis=1)
                assert apart.mean() < 2
                pose = [there.pose.yaw_deg, there.pose.pitch_deg, there.pose.roll_deg]
                np.testing.assert_allclose(sample.poses_deg[i], pose, atol=4)

    def test_landmarks_at_another_size(self, pack):
        (sample,) = of(pack, "eileen/talk.mp4")
        half = sample.landmarks_at(128)
        np.testing.assert_allclose(half[..., 0] + 0.5, (sample.landmarks[..., 0] + 0.5) / 2, atol=1e-4)
        np.testing.assert_allclose(half[..., 2], sample.landmarks[..., 2] / 2, atol=1e-4)

    def test_cuts_make_segments(self, pack):
        samples = of(pack, "eileen/cuts.mp4")
        assert [sample.key[-3:] for sample in samples] == ["-00", "-01"]
        assert [len(sample) for sample in samples] == [20, 20]
        assert [sample.meta["start_s"] for sample in samples] == [0.0, 40 / RATE]
        assert {sample.identity for sample in samples} == {"eileen"}
        assert pack.manifest["counts"]["seconds_without_sample"] == pytest.approx(20 / RATE, abs=0.01)

    def test_tight_picture_is_not_padded(self, pack):
        for sample in of(pack, "eileen/cuts.mp4"):
            assert sample.row["padding"] == 0
            assert sample.meta["crop"]["side"] <= 200

    def test_damaged_end_keeps_the_beginning(self, pack):
        """MP4 with its index first can be read as far as it goes; with its index last it cannot at all."""
        skipped = [json.loads(line) for line in (pack.folder / "skipped.jsonl").read_text().splitlines()]
        found = of(pack, "cut short.mp4")
        assert found or any(entry["source"] == "cut short.mp4" for entry in skipped)


class TestPhoto:
    def test_sample(self, pack):
        (sample,) = of(pack, "eileen/photo.jpg")
        assert sample.frames().shape == (1, 256, 256, 3)
        assert sample.landmarks.shape == (1, 478, 3)
        low, high = sample.landmarks[0, :, :2].min(axis=0), sample.landmarks[0, :, :2].max(axis=0)
        assert (high - low).max() == pytest.approx(128, abs=2)
        assert sample.row["faces"] == 1
        assert sample.row["face_px"] == pytest.approx(113, abs=15)

    def test_embeddings_know_the_person(self, pack):
        embedding = pack.column("embedding")
        rows = pack.index["identity"].to_pylist()
        same = [embedding[i] for i, name in enumerate(rows) if name == "eileen"]
        assert max(np.linalg.norm(one - same[0]) for one in same) < SAME_PERSON_DISTANCE

    def test_embedding_is_of_the_source(self, pack, data_set):
        i = pack.index["source"].to_pylist().index("eileen/photo.jpg")
        with FaceFinder() as finder:
            photo = demo_photo()
            expected = IdentityEmbedder().embed(photo, Landmarks(finder.observe(photo).landmarks.mesh))
        assert np.linalg.norm(pack.column("embedding")[i] - expected) < 0.1


class TestSkipped:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("empty room.png", "shows no face"),
            ("broken.mp4", "is not a video"),
            ("nothing.jpg", "is empty"),
            ("far.png", "pixels large; use one of 32 or more"),
        ],
    )
    def test_reason(self, pack, data_set, name, reason):
        skipped = [json.loads(line) for line in (pack.folder / "skipped.jsonl").read_text().splitlines()]
        (entry,) = [one for one in skipped if one["source"] == name]
        assert reason in entry["reason"]
        assert name in entry["reason"]
        assert str(data_set) not in entry["reason"]


def test_report_shows_all(pack):
    page = (pack.folder / "report.html").read_text()
    assert page.count("<svg") == 7
    assert page.count("data:image/jpeg") == len(pack)
    assert "broken.mp4" in page
    assert "http" not in page


class TestBoxes:
    def two_people(self, data_set):
        """The astronaut twice: the right one larger."""
        photo = demo_photo()
        large = cv2.resize(photo, (700, 700))
        picture = np.full((700, 1212, 3), 200, np.uint8)
        picture[:512, :512], picture[:, 512:] = photo, large
        return picture

    @pytest.mark.parametrize("left", [True, False])
    def test_photo(self, data_set, tmp_path, left):
        write_image(tmp_path / "two.png", self.two_people(data_set))
        x = (222 if left else 512 + 304) / 1212
        boxes = FaceBoxes(np.array([0]), np.array([[x - 0.06, 0.02, 0.12, 0.4]]), 25.0)
        item = Item("two", Kind.PHOTO, tmp_path / "two.png", "eileen", Split.TRAIN, boxes=boxes)
        (sample,) = process_item(item, tmp_path, Settings()).samples
        meta = json.loads(sample.members["json"])
        assert (meta["crop"]["left"] < 300) == left
        assert meta["faces"] == 2

    def test_no_face_there(self, data_set, tmp_path):
        write_image(tmp_path / "two.png", self.two_people(data_set))
        boxes = FaceBoxes(np.array([0]), np.array([[0.9, 0.9, 0.1, 0.1]]), 25.0)
        item = Item("two", Kind.PHOTO, tmp_path / "two.png", "eileen", Split.TRAIN, boxes=boxes)
        assert "where the data set says" in process_item(item, tmp_path, Settings()).skipped

    def test_clip_and_its_part(self, data_set, talking, tmp_path):
        wide = [np.concatenate([frame, cv2.resize(frame, (256, 512))], axis=1) for frame in talking]
        write_clip(tmp_path / "two.mp4", wide)
        boxes = FaceBoxes(np.array([0, 20]), np.array([[170 / 768, 0.1, 110 / 768, 0.3]] * 2), RATE)
        item = Item("two", Kind.CLIP, tmp_path / "two.mp4", "e", Split.TRAIN, start_s=0.2, end_s=30 / RATE, boxes=boxes)
        (sample,) = process_item(item, tmp_path, Settings()).samples
        meta = json.loads(sample.members["json"])
        assert meta["start_s"] == pytest.approx(0.2)
        assert meta["frames"] == 17  # from 5 to one frame after the last box
        assert meta["crop"]["left"] < 200


class TestSettings:
    def test_compact(self, data_set, pack, tmp_path):
        item = Item("talk", Kind.CLIP, data_set / "eileen" / "talk.mp4", "eileen", Split.TRAIN)
        (small,) = process_item(item, data_set, Settings(compact=True)).samples
        (large,) = of(pack, "eileen/talk.mp4")
        meta = json.loads(small.members["json"])
        assert meta["frames"] == FRAMES // 2
        assert meta["pts"] == large.meta["pts"][::2]
        assert meta["end_pts"] == large.meta["end_pts"]
        assert len(small.members["mp4"]) < 0.6 * len(large.media)

    @pytest.mark.parametrize("size", [63, 100, 2048])
    def test_sizes(self, size):
        with pytest.raises(ReenactError, match="multiple of 32"):
            Settings(size=size)


class TestCommand:
    @pytest.mark.slow
    def test_processes_give_the_same_bytes(self, data_set, pack, tmp_path, capsys):
        out = tmp_path / "out"
        assert main(["prepare", str(data_set), "--out", str(out), "--workers", "2"]) == 0
        assert "files were skipped" in capsys.readouterr().out
        assert content(out) == content(pack.folder)
        assert main(["prepare", str(data_set), "--out", str(out)]) == 0
        assert "8 files were done before" in capsys.readouterr().out

    def test_nothing_usable(self, tmp_path, capsys):
        write_image(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8))
        assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "0"]) == 2
        assert "nothing in" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--dataset", "nonsense"], "there is no data set nonsense; choose from"),
            (["--limit", "0"], "--limit must be 1 or more"),
            (["--workers", "-1"], "--workers must be 0 or more"),
            (["--size", "100"], "multiple of 32"),
            (["--shard-mb", "0"], "more than 0 MB"),
        ],
    )
    def test_refusals(self, data_set, tmp_path, capsys, more, message):
        assert main(["prepare", str(data_set), "--out", str(tmp_path / "out"), *more]) == 2
        assert message in capsys.readouterr().err

    def test_no_source(self, tmp_path, capsys):
        assert main(["prepare", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
        assert "check the name" in capsys.readouterr().err

    def test_ray_missing(self, data_set, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "ray", None)
        command = ["prepare", str(data_set), "--out", str(tmp_path / "out"), "--ray", "auto"]
        assert main(command) == 2
        assert "pip install 'reenactor[cluster]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_cluster_with_a_dying_machine(data_set, pack, tmp_path):
    """Two nodes on this machine; one is taken away while both work. The bytes are those of a single process."""
    pytest.importorskip("ray", reason="Ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    lost = False

    class Observer:
        def start(self, what, done, total):
            pass

        def step(self, done, total):
            nonlocal lost
            if not lost:
                lost = True
                cluster.remove_node(second, allow_graceful=False)

        def end(self):
            pass

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            started = time.monotonic()
            prepare(Plan(data_set, tmp_path / "out", ray=cluster.address), Observer())
            assert time.monotonic() - started < 300
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert lost
    assert content(tmp_path / "out") == content(pack.folder)


@pytest.fixture
def frames(talking, tmp_path):
    """Every sixth frame of a talk as files, all of one size but one."""
    for i, frame in enumerate(talking[::6]):
        picture = cv2.resize(frame, (300, 300)) if i == 2 else frame
        write_image(tmp_path / f"{i}.png", np.ascontiguousarray(picture))
    return tmp_path


class TestFramesInFiles:
    def item(self, folder, step=6):
        names = tuple(f"{i}.png" for i in range(6))
        frames = FrameFiles(names, tuple(range(0, 6 * step, step)), 25)
        return Item("talk", Kind.CLIP, folder, "eileen", Split.TEST, frames=frames)

    def test_they_are_a_clip(self, frames, talking):
        done = process_item(self.item(frames), frames, Settings())
        (sample,) = done.samples
        assert (done.skipped, done.lost_s) == (None, 0)
        meta = json.loads(sample.members["json"])
        assert meta["pts"] == [0, 6, 12, 18, 24, 30]
        assert meta["time_base"] == "1/25"
        assert meta["end_pts"] == 36
        crop = meta["crop"]
        decoded = decode_frames(sample.members["mp4"])
        for i, frame in enumerate(talking[::6]):
            cut = frame[crop["top"] : crop["top"] + crop["side"], crop["left"] : crop["left"] + crop["side"]]
            cut = cv2.resize(cut, (256, 256), interpolation=cv2.INTER_AREA)
            assert np.abs(decoded[i].astype(int) - cut).mean() < 6

    def test_no_cut_is_seen_between_frames_a_second_apart(self, talking, tmp_path):
        """The light changes as much as across a cut."""
        for i, frame in enumerate(talking[::6]):
            write_image(tmp_path / f"{i}.png", np.ascontiguousarray(frame if i % 2 else frame // 2))
        assert len(process_item(self.item(tmp_path, step=25), tmp_path, Settings()).samples) == 1
        assert len(process_item(self.item(tmp_path, step=12), tmp_path, Settings()).samples) == 0

    def test_a_changed_frame_makes_another_pack(self, frames):
        before = fingerprint(self.item(frames), Settings())
        assert before == fingerprint(self.item(frames), Settings())
        (frames / "notes.txt").write_text("nothing to do with the frames")
        assert before == fingerprint(self.item(frames), Settings())
        assert before != fingerprint(self.item(frames, step=5), Settings())
        os.utime(frames / "3.png", (1, 1))
        assert before != fingerprint(self.item(frames), Settings())
