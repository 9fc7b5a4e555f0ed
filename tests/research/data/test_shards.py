"""Shards on disk: read by tarfile, by webdataset, and by seeking; clips as bytes, frame by frame."""

import io
import json
import tarfile
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from reenactor.core import ReenactError
from reenactor.face.perception.identity import EMBEDDING_SIZE
from reenactor.research.data.frames import KEYFRAME_EVERY, ClipEncoder, decode_frames, decode_photo, encode_photo
from reenactor.research.data.items import PackedSample, ProcessedItem
from reenactor.research.data.shards import SCHEMA, ShardReader, ShardWriter

SIZE = 64


def sample(key, **members):
    return PackedSample({"key": key}, members)


def picture(i):
    """A window that moves over the astronaut, so that frames differ."""
    return cv2.resize(astronaut()[i : i + 256, 96 : 96 + 256], (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def clip(pts, time_base=Fraction(1, 25), crf=12):
    encoder = ClipEncoder(SIZE, time_base=time_base, rate_hint=Fraction(25), crf=crf, preset="veryfast")
    for i, time in enumerate(pts):
        encoder.write(picture(2 * i), time)
    return encoder.close(pts[-1] + 1)


@pytest.fixture(scope="module")
def sixty():
    return clip(range(60))


class TestWriter:
    def test_is_a_plain_tar_with_correct_positions(self, tmp_path):
        writer = ShardWriter(tmp_path / "a.tar")
        samples = [
            sample("one", mp4=b"m" * 1000, landmarks=b"l" * 512, json=b"{}"),
            sample("two" + "x" * 110, jpg=b"", landmarks=b"l", json=b'{"a":1}'),
        ]
        sizes = [ShardWriter.size_of(one) for one in samples]
        positions = [writer.add(one) for one in samples]
        assert writer.size == sum(sizes)
        writer.close()
        data = (tmp_path / "a.tar").read_bytes()
        with tarfile.open(tmp_path / "a.tar") as tar:
            names = tar.getnames()
            held = {name: tar.extractfile(name).read() for name in names}
        assert names == [f"{one.row['key']}.{suffix}" for one in samples for suffix in one.members]
        for one, position in zip(samples, positions, strict=True):
            for suffix, content in one.members.items():
                member = "media" if suffix in ("mp4", "jpg") else suffix
                start, size = position[f"{member}_offset"], position[f"{member}_size"]
                assert data[start : start + size] == content == held[f"{one.row['key']}.{suffix}"]
        assert len(data) % 512 == 0

    def test_same_samples_same_bytes(self, tmp_path):
        for name in ("a.tar", "b.tar"):
            writer = ShardWriter(tmp_path / name)
            writer.add(sample("one", jpg=b"1", landmarks=b"2", json=b"{}"))
            writer.close()
        assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


class TestClips:
    def test_looks_like_what_went_in(self, sixty):
        back = decode_frames(sixty)
        assert back.shape == (60, SIZE, SIZE, 3)
        for i in (0, 17, 59):
            error = ((back[i].astype(float) - picture(2 * i)) ** 2).mean()
            assert 10 * np.log10(255**2 / error) > 28
            others = [((back[i].astype(float) - picture(2 * j)) ** 2).mean() for j in range(60) if j != i]
            assert error < min(others)

    @pytest.mark.parametrize("numbers", [[0], [59], [30, 3], [23, 24, 25, 23], [], [59, 0, 31, 31]])
    def test_chosen_frames_are_those_of_all(self, sixty, numbers):
        np.testing.assert_array_equal(decode_frames(sixty, numbers), decode_frames(sixty)[numbers])

    def test_other_size(self, sixty):
        small, whole = decode_frames(sixty, [5], size=32)[0], decode_frames(sixty, [5])[0]
        expected = cv2.resize(whole, (32, 32), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - expected).mean() < 4

    def test_keyframes_are_near(self, sixty):
        with av.open(io.BytesIO(sixty)) as container:
            keys = [i for i, p in enumerate(p for p in container.demux(video=0) if p.size) if p.is_keyframe]
        assert max(np.diff([*keys, 60])) <= KEYFRAME_EVERY

    @pytest.mark.parametrize("time_base", [Fraction(1, 12800), Fraction(1001, 30000), Fraction(1, 1000)])
    def test_times_are_exact(self, time_base):
        pts = [0, 3, 4, 9, 10, 11, 20]
        with av.open(io.BytesIO(clip(pts, time_base))) as container:
            times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        assert times == [i * time_base for i in pts]

    @pytest.mark.parametrize(
        "pts",
        [[0, 1, 2, 10, 11], [0, 4], [0, 1, 2, 5, 6, 9, 10, 14, 15, 16, 20, 23], [*range(30), 90, *range(91, 120), 130]],
    )
    @pytest.mark.parametrize("time_base", [Fraction(1, 25), Fraction(1001, 30000)])
    def test_every_frame_lasts_until_the_next(self, pts, time_base):
        encoder = ClipEncoder(SIZE, time_base=time_base, rate_hint=Fraction(25), crf=20, preset="veryfast")
        for i, time in enumerate(pts[:-1]):
            encoder.write(picture(i), time)
        with av.open(io.BytesIO(encoder.close(pts[-1]))) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert stream.duration * stream.time_base == pts[-1] * time_base
            assert container.duration == pytest.approx(float(pts[-1] * time_base) * 1e6, abs=100)
            lasts = {packet.pts * stream.time_base: packet.duration * stream.time_base for packet in packets}
        assert lasts == {a * time_base: (b - a) * time_base for a, b in pairwise(pts)}
        assert all(packet.dts <= packet.pts for packet in packets)
        assert all(a.dts < b.dts for a, b in pairwise(packets))

    @pytest.mark.parametrize(("pts", "end"), [([], 1), ([0, 1], 1), ([0, 2], 1)])
    def test_times_that_cannot_be(self, pts, end):
        encoder = ClipEncoder(SIZE, time_base=Fraction(1, 25), rate_hint=Fraction(25), crf=20, preset="veryfast")
        for time in pts:
            encoder.write(picture(0), time)
        with pytest.raises(ValueError, match="times that increase"):
            encoder.close(end)

    def test_same_frames_same_bytes(self):
        assert clip([0, 1, 2, 10]) == clip([0, 1, 2, 10])
        assert clip(range(5)) == clip(range(5))

    @pytest.mark.parametrize("numbers", [[60], [-1]])
    def test_frames_outside(self, sixty, numbers):
        with pytest.raises(ValueError, match="frames 0 to 59"):
            decode_frames(sixty, numbers)

    def test_damage_is_reported(self, sixty):
        for data in (b"", b"nonsense" * 50, sixty[: len(sixty) // 2]):
            with pytest.raises(ReenactError, match="prepare the data again"):
                decode_frames(data)


class TestPhotos:
    def test_round_trip(self):
        image = picture(0)
        back = decode_photo(encode_photo(image, quality=93, full_colour=True))
        assert np.abs(back.astype(int) - image).mean() < 3
        assert decode_photo(encode_photo(image, quality=93, full_colour=False), size=32).shape == (32, 32, 3)

    def test_damage_is_reported(self):
        with pytest.raises(ReenactError, match="prepare the data again"):
            decode_photo(b"no picture")


class TestProcessedItem:
    def test_round_trip(self):
        processed = ProcessedItem(
            "key", "a/b.mp4", "f", [PackedSample({"key": "key-00", "x": [1.5]}, {"mp4": b"12", "json": b"3"})]
        )
        assert ProcessedItem.from_bytes(processed.to_bytes()) == processed

    def test_damage_is_noticed(self):
        data = ProcessedItem("key", "a/b.mp4", "f", skipped="why").to_bytes()
        for spoilt in (b"", data[:-1], data[:-1] + b"x", data[:6]):
            with pytest.raises(json.JSONDecodeError):
                ProcessedItem.from_bytes(spoilt)


def test_no_pack_no_reader(tmp_path):
    with pytest.raises(ReenactError, match="holds no finished pack"):
        ShardReader(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "reenactor-shards", "version": 99}')
    with pytest.raises(ReenactError, match="version 99"):
        ShardReader(tmp_path)


def test_index_has_room_for_embeddings():
    assert SCHEMA.field("embedding").type.list_size == EMBEDDING_SIZE
