"""Files with transparency: what is written is read, by other decoders than those that players guess."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from factories import decoded, moving, psnr, stored_times
from reenactor.core import MediaError
from reenactor.media import VideoWriter, join_segments, open_writer, read_rgba, write_image

RATE = Fraction(25)


@pytest.fixture(scope="module")
def cut(face):
    """(96, 80, 4): a face that fades out downwards, without colours where it is transparent."""
    opacity = np.clip(2 * np.linspace(255, -60, 96), 0, 255).astype(np.uint8)[:, None].repeat(80, 1)
    return np.dstack([face[:96, :80] * (opacity > 0)[..., None], opacity])


def write(path, frames, first=0, **options):
    height, width = frames[0].shape[:2]
    with open_writer(path, size=(width, height), time_base=1 / RATE, rate_hint=RATE, **options) as writer:
        for number, frame in enumerate(frames, first):
            writer.write(frame, number)


def layers(path):
    """All frames with opacity; of WebM by libvpx, since FFmpeg's own VP9 decoder ignores it."""
    if path.suffix == ".webp":
        with Image.open(path) as image:
            shown = []
            for number in range(image.n_frames):
                image.seek(number)
                shown.append(np.array(image.convert("RGBA")))
        return np.stack(shown)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        if path.suffix == ".webm":
            codec = av.CodecContext.create("libvpx-vp9", "r")
        packets = container.demux(video=0)
        frames = [frame for packet in packets for frame in codec.decode(packet if packet.size else None)]
        return np.stack([frame.to_ndarray(format="rgba") for frame in frames])


@pytest.mark.parametrize(("suffix", "most_off", "quality_db"), [(".mov", 2, 38), (".webm", 16, 32), (".webp", 0, 32)])
def test_opacity_and_colours_of_every_frame_stay(tmp_path, cut, suffix, most_off, quality_db):
    frames = [moving(cut, number) for number in range(6)]
    path = tmp_path / f"a{suffix}"
    write(path, frames, alpha=True)
    got = layers(path)
    assert got.shape == (6, 96, 80, 4)
    for frame, back in zip(frames, got, strict=True):
        assert np.abs(back[..., 3].astype(int) - frame[..., 3]).max() <= most_off
        seen = frame[..., 3] > 40
        assert psnr(back[seen][:, :3], frame[seen][:, :3]) > quality_db


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_joined_segments_are_as_transparent(tmp_path, cut, suffix):
    parts = [tmp_path / f"{first}{suffix}" for first in (0, 5)]
    for first, part in zip((0, 5), parts, strict=True):
        write(part, [moving(cut, number) for number in range(first, first + 5)], first, alpha=True)
    output = tmp_path / f"joined{suffix}"
    join_segments(parts, output)
    np.testing.assert_array_equal(layers(output), np.concatenate([layers(part) for part in parts]))
    assert stored_times(output)[0] == [number / RATE for number in range(10)]
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        if suffix == ".mov":  # the tag by which editors know that it is 4444
            assert (stream.codec_context.codec_tag, stream.codec_context.profile) == ("ap4h", "4444")
        else:
            assert {name.lower(): text for name, text in stream.metadata.items()}["alpha_mode"] == "1"


def test_a_webm_without_transparency_is_a_video_like_any_other(tmp_path, face):
    frames = [moving(face[:96, :81], number) for number in range(6)]
    write(tmp_path / "a.webm", frames)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.streams.video[0].codec_context.name == "vp9"
        assert "alpha_mode" not in map(str.lower, container.streams.video[0].metadata)
    got = decoded(tmp_path / "a.webm")
    assert got.shape == (6, 96, 82, 3)
    assert psnr(got[3][:, :81], frames[3]) > 30


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_still_picture_keeps_its_opacity(tmp_path, cut, suffix):
    write_image(tmp_path / f"a{suffix}", cut)
    back = read_rgba(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back[..., 3], cut[..., 3])
    assert psnr(back[cut[..., 3] > 40], cut[cut[..., 3] > 40]) > 32


@pytest.mark.parametrize(
    ("name", "words"), [("a.mp4", ".mov or .webm"), ("a.mkv", ".mov or .webm"), ("a.gif", "in .webp")]
)
def test_other_videos_are_refused(tmp_path, cut, name, words):
    with pytest.raises(MediaError, match=rf"a {name[1:]} file holds no soft transparency; end the name .*{words}$"):
        write(tmp_path / name, [cut], alpha=True)
    assert list(tmp_path.iterdir()) == []


def test_pictures_must_have_the_channels_that_were_announced(tmp_path, cut):
    with pytest.raises(MediaError, match=r"a .jpg file holds no soft transparency; end the name in .png or .webp"):
        write_image(tmp_path / "a.jpg", cut)
    with pytest.raises(ValueError, match=r"expected \(96, 80, 4\) uint8"):
        write(tmp_path / "a.mov", [cut[..., :3]], alpha=True)
    writer = VideoWriter(tmp_path / "a.mp4", size=(80, 96), time_base=1 / RATE, rate_hint=RATE)
    with pytest.raises(ValueError, match=r"expected \(96, 80, 3\) uint8"), writer:
        writer.write(cut, 0)
    assert list(tmp_path.iterdir()) == []
