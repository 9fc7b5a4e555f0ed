"""`reenactor animate --alpha`: transparent files of a cut-out photo."""

import av
import numpy as np
import pytest
from PIL import Image

from factories import FRAMES, NTSC, sound_packets, stored_times
from reenactor.core import Options
from reenactor.engine import animate, job
from reenactor.media import read_image, read_provenance, read_rgba

SMALL = ("--size", 64, "--max-side", 128, "--model", "warp")


@pytest.fixture(scope="module")
def cut(tmp_path_factory, photo):
    """The photo, fading out toward the left and right borders."""
    path = tmp_path_factory.mktemp("cut") / "cut.png"
    columns = np.abs(np.arange(256) - 128)
    opacity = np.clip(6 * (118 - columns), 0, 255).astype(np.uint8)[None].repeat(256, 0)
    Image.fromarray(np.dstack([read_image(photo), opacity])).save(path)
    return path


def opacities(path):
    """(T, H, W) of a video."""
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        if path.suffix == ".webm":  # FFmpeg's own decoder ignores transparency
            codec = av.CodecContext.create("libvpx-vp9", "r")
        packets = container.demux(video=0)
        frames = [frame for packet in packets for frame in codec.decode(packet if packet.size else None)]
        return np.stack([frame.to_ndarray(format="rgba")[..., 3] for frame in frames])


def close_to_photo(opacity, cut):
    return np.abs(opacity.astype(int) - read_rgba(cut)[::2, ::2, 3]).mean() < 6


def test_a_signed_film_for_editors_with_sound(reenactor, tmp_path, cut, clip):
    output = tmp_path / "o.mov"
    code, out, err = reenactor("animate", "--alpha", "--target", cut, "--driver", clip, "-o", output, *SMALL)
    assert (code, err) == (0, "")
    assert "with sound" in out
    assert stored_times(output)[0] == [i / NTSC for i in range(FRAMES)]
    assert sound_packets(output) == sound_packets(clip)[: len(sound_packets(output))]
    report = read_provenance(output)
    assert report.valid
    assert report.options == {"model": "warp", "size": "64", "max_side": "128", "alpha": "True"}
    shown = opacities(output)
    assert shown.shape == (FRAMES, 128, 128)
    assert all(close_to_photo(one, cut) for one in shown)
    assert np.abs(shown - shown[:1].astype(int)).max() > 20


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_signed_still(reenactor, tmp_path, cut, photo, suffix):
    output = tmp_path / f"o{suffix}"
    code, _, err = reenactor("animate", "--alpha", "--target", cut, "--driver", photo, "-o", output, *SMALL)
    assert (code, err) == (0, "")
    assert read_provenance(output).valid
    assert close_to_photo(read_rgba(output)[..., 3], cut)


def test_a_signed_animation_of_the_face_alone(reenactor, tmp_path, cut, motion):
    output = tmp_path / "o.webp"
    command = ("animate", "--alpha", "--crop-only", "--target", cut, "--driver", motion, "-o", output, *SMALL)
    assert reenactor(*command)[::2] == (0, "")
    assert read_provenance(output).valid
    with Image.open(output) as image:
        assert (image.mode, image.size) == ("RGBA", (64, 64))
        assert image.n_frames > 10
        assert np.asarray(image)[:, 0, 3].max() < 60
        assert np.asarray(image)[:, 32, 3].min() == 255


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_a_stopped_film_continues(tmp_path, cut, motion, suffix, monkeypatch):
    monkeypatch.setattr(job, "SEGMENT_FRAMES", 8)
    options = Options(model="warp", size=64, max_side=128, alpha=True, provenance=False)

    class Stop:
        def start(self, what, done, total):
            self.first = done

        def step(self, done, total):
            if self.first == 0 and done == 20:
                raise KeyboardInterrupt

        def end(self):
            pass

    stopped, whole = tmp_path / f"stopped{suffix}", tmp_path / f"whole{suffix}"
    with pytest.raises(KeyboardInterrupt):
        animate([cut], motion, stopped, options, progress=Stop())
    report = animate([cut], motion, stopped, options, progress=Stop())
    assert report.frames_made == 30 - 16
    animate([cut], motion, whole, options)
    np.testing.assert_array_equal(opacities(stopped), opacities(whole))
    assert stored_times(stopped) == stored_times(whole)
    assert all(close_to_photo(one, cut) for one in opacities(stopped))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("o.gif", "a .gif file holds no soft transparency; end the name in .mov, .webm or .webp"),
        ("o.mp4", "a .mp4 file holds no soft transparency; end the name in .mov, .webm or .webp"),
        ("o.mkv", "a .mkv file holds no soft transparency; end the name in .mov, .webm or .webp"),
        ("o.webm", "o.webm cannot carry a signature that says it is synthetic: choose .webp or .mov, or pass"),
    ],
)
def test_files_that_cannot_be(reenactor, tmp_path, cut, motion, name, words):
    code, out, err = reenactor("animate", "--alpha", "--target", cut, "--driver", motion, "-o", tmp_path / name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_what_else_cannot_be(reenactor, tmp_path, cut, photo, motion):
    for arguments, words in (
        (("--target", cut, "--driver", photo, "-o", tmp_path / "o.jpg"), "end the name in .png or .webp"),
        (("--target", photo, "--driver", motion, "-o", tmp_path / "o.mov"), f"nothing of {photo} is transparent"),
        (("--target", cut, "--driver", motion, "-o", tmp_path / "o.mov", "--grid"), "a grid has no transparency"),
    ):
        code, out, err = reenactor("animate", "--alpha", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_cut_outs_makes_mov_files(reenactor, tmp_path, cut, motion):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "a.png").write_bytes(cut.read_bytes())
    target = ("--target", tmp_path / "people", "--driver", motion, "-o", tmp_path / "out")
    assert reenactor("animate", "--alpha", *target, *SMALL)[::2] == (0, "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a--blink.mov"]
