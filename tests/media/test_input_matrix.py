"""What people have: photos and videos of many kinds, each made here, read back and compared with its source."""

import io
import struct
from fractions import Fraction
from itertools import islice

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.color import rgb2xyz
from skimage.data import astronaut

from factories import EXIF_UNDO, head, is_one_sentence, moving, psnr, tone
from reenactor.core import MediaError, Options
from reenactor.media import VideoReader, VideoWriter, join_segments, open_reader, read_image
from reenactor.media.hdr import tone_mapped

pytestmark = pytest.mark.slow

# Photos

P3_TO_XYZ = [[0.48657095, 0.26566769, 0.19821729], [0.22897456, 0.69173852, 0.07928691], [0, 0.04511338, 1.04394437]]
P3_COLORANTS = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
"""As in the profile that telephones embed, on the profile's white (D50)."""


def p3_profile():
    """Display P3: sRGB's curve, with other primaries."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack(">I", data[128:132])[0]):
        name, offset = struct.unpack(">4sI", data[132 + 12 * i : 140 + 12 * i])
        if name in P3_COLORANTS:
            data[offset + 8 : offset + 20] = struct.pack(">3i", *(round(v * 65536) for v in P3_COLORANTS[name]))
    return bytes(data)


def to_p3(picture):
    """The same colours in numbers of Display P3."""
    linear = np.clip(rgb2xyz(picture) @ np.linalg.inv(P3_TO_XYZ).T, 0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * curve).astype(np.uint8)


def write_photo(path, upright, mode="RGB", orientation=1, p3=False, **options):
    """Write a photo of some kind; what it should look like."""
    about = {}
    if orientation != 1:
        about["exif"] = Image.Exif()
        about["exif"][0x0112] = orientation
        about["exif"] = about["exif"].tobytes()
    if p3:
        about["icc_profile"] = p3_profile()
    stored = np.ascontiguousarray(EXIF_UNDO[orientation](to_p3(upright) if p3 else upright))
    grey = np.asarray(Image.fromarray(stored).convert("L"))
    alpha = np.full(stored.shape[:2], 255, np.uint8)
    alpha[:, : stored.shape[1] // 3] = 0
    clear = alpha[..., None] == 0
    wanted = upright
    if mode == "RGB16":
        cv2.imwrite(str(path), cv2.cvtColor(stored.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR))
        return wanted
    if mode in ("L", "I;16"):
        image = Image.fromarray(grey if mode == "L" else grey.astype(np.uint16) * 257)
        wanted = np.repeat(grey[..., None], 3, 2)
    elif mode == "1":
        image = Image.fromarray(grey > 99)
        wanted = np.repeat(np.where(grey > 99, 255, 0)[..., None], 3, 2)
    elif mode == "P":
        image = Image.fromarray(stored).quantize(256)
    elif mode == "LA":
        image = Image.fromarray(np.dstack([grey, alpha]), "LA")
        wanted = np.where(clear, 255, grey[..., None].repeat(3, 2))
    elif mode in ("RGBA", "PA"):
        image = Image.fromarray(np.dstack([stored, alpha]))
        image = image.quantize(256, method=Image.Quantize.FASTOCTREE) if mode == "PA" else image
        wanted = np.where(clear, 255, upright)
    else:
        image = Image.fromarray(stored).convert(mode)
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image.save(path, **about, **options)
    return wanted


LOSSY = {
    "jpg": {"quality": 95},
    "webp": {"quality": 95},
    "avif": {"quality": 95, "subsampling": "4:4:4"},
    "heic": {"quality": 95},
}
PHOTOS = [
    *(("png", {}, 99), ("jpg", {}, 33), ("webp", {}, 34), ("avif", {}, 39), ("heic", {}, 34), ("jp2", {}, 99)),
    *(("bmp", {}, 99), ("tiff", {}, 99), ("gif", {}, 32), ("ppm", {}, 99), ("j2k", {}, 99)),
    *(("webp", {"lossless": True}, 99), ("jpg", {"progressive": True}, 33), ("tif", {"compression": "tiff_lzw"}, 99)),
    *(("jpg", {"orientation": turn}, 33) for turn in range(2, 9)),
    *((suffix, {"orientation": 6}, least_db) for suffix, least_db in (("png", 99), ("webp", 34), ("tiff", 99))),
    *((suffix, {"orientation": 6}, 34) for suffix in ("avif", "heic")),
    # Taken for sRGB, these would be at 28.6 dB.
    *((suffix, {"p3": True}, least_db) for suffix, least_db in (("png", 50), ("tiff", 50), ("jpg", 33), ("webp", 34))),
    *(("avif", {"p3": True}, 39), ("heic", {"p3": True}, 34)),
    *(("jpg", {"p3": True, "orientation": 8}, 33), ("heic", {"p3": True, "orientation": 6}, 34)),
    *(("png", {"mode": mode}, 99) for mode in ("L", "I;16", "RGB16", "1", "LA", "RGBA")),
    *(("tiff", {"mode": mode}, 99) for mode in ("L", "I;16", "RGB16", "RGBA", "1", "CMYK")),
    *(
        ("png", {"mode": "P"}, 32),
        ("bmp", {"mode": "P"}, 32),
        ("png", {"mode": "PA"}, 33),
        ("gif", {"mode": "RGBA"}, 32),
    ),
    *(("webp", {"mode": "RGBA"}, 34), ("avif", {"mode": "RGBA"}, 39), ("heic", {"mode": "RGBA"}, 34)),
    *(("jpg", {"mode": "L"}, 33), ("jpg", {"mode": "CMYK"}, 33), ("jp2", {"mode": "RGBA"}, 99)),
]


@pytest.mark.parametrize(("suffix", "about", "least_db"), PHOTOS, ids=str)
def test_photos(tmp_path, suffix, about, least_db):
    path = tmp_path / f"a.{suffix}"
    suit = astronaut()[250:450, 60:300]  # orange
    wanted = write_photo(path, suit, **LOSSY.get(suffix, {}) | about)
    back = read_image(path)
    assert back.shape == (200, 240, 3)
    assert psnr(back, wanted) > least_db


BAD = {
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "page.pdf": b"%PDF-1.7\n" + bytes(99),
    "layers.psd": b"8BPS\0\1" + bytes(99),
    "raw.dng": b"II*\0\x08\0\0\0\0\0" + bytes(99),
    "half.jpg": lambda whole: whole[: len(whole) // 2],
    "start.jpg": lambda whole: whole[:100],
    "name.png": b"no picture" * 100,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_photo_is_refused_in_one_sentence(tmp_path, face, name):
    content, path = BAD[name], tmp_path / name
    if callable(content):
        whole = io.BytesIO()
        Image.fromarray(face).save(whole, "JPEG")
        content = content(whole.getvalue())
    path.write_bytes(content)
    for read in (read_image, open_reader):
        with pytest.raises(MediaError) as caught:
            read(path)
        assert is_one_sentence(str(caught.value), path)


# Videos

SIZE = (128, 96)
COUNT = 12
FAST = {"preset": "ultrafast", "crf": "8"}
VPX = {"deadline": "realtime", "cpu-used": "8", "crf": "6", "b": "4M"}
EVEN_MS = [40 * i for i in range(COUNT)]
UNEVEN_MS = [0, 40, 60, 100, 180, 200, 330, 350, 400, 520, 560, 600]
ENCODERS = {
    "h264": ("libx264", "yuv420p", FAST, 37),
    "h264 10 bit": ("libx264", "yuv420p10le", FAST, 37),
    "h264 4:4:4": ("libx264", "yuv444p", FAST, 37),
    "h264 full range": ("libx264", "yuvj420p", FAST, 37),
    "h264 B-frames": ("libx264", "yuv420p", {"preset": "medium", "crf": "8"}, 37),
    "hevc": ("libx265", "yuv420p", FAST | {"x265-params": "log-level=none"}, 37),
    "hevc 10 bit": ("libx265", "yuv420p10le", FAST | {"x265-params": "log-level=none"}, 37),
    "vp8": ("libvpx", "yuv420p", VPX, 36),
    "vp9": ("libvpx-vp9", "yuv420p", VPX, 35),
    "av1": ("libsvtav1", "yuv420p", {"preset": "12", "crf": "10"}, 36),
    "mpeg4": ("mpeg4", "yuv420p", {"b": "4M"}, 34),
    "mpeg2": ("mpeg2video", "yuv420p", {"b": "4M"}, 33),
    "mpeg1": ("mpeg1video", "yuv420p", {"b": "4M"}, 33),
    "mjpeg": ("mjpeg", "yuvj420p", {"b": "9M"}, 34),
    "prores": ("prores_ks", "yuv422p10le", {}, 39),
    "ffv1": ("ffv1", "yuv420p", {}, 40),
    "wmv2": ("wmv2", "yuv420p", {"b": "4M"}, 34),
    "flv1": ("flv", "yuv420p", {"b": "4M"}, 34),
    "qtrle": ("qtrle", "rgb24", {}, 99),
    "raw": ("rawvideo", "bgr24", {}, 99),
    "png": ("png", "rgb24", {}, 99),
}
"""Encoder, pixel format, options, and how well pictures are kept, dB; a picture and the next one are at 24 dB."""
ANIMATION_DB = {"gif": 37, "webp": 37, "png": 99, "apng": 99, "avif": 39}


def write_video(
    path, frames, codec, sound=None, times_ms=EVEN_MS, start_ms=0, degrees=0, aspect=None, transfer=None, subtitles=None
):
    """Write a video of some kind with plain PyAV."""
    encoder, form, options, _ = ENCODERS[codec]
    even = times_ms is EVEN_MS
    # AVI counts frames: they would be moved, by less than one, for the sake of the sound's priming.
    muxing = {"avoid_negative_ts": "disabled"} if path.suffix == ".avi" else {}
    with av.open(str(path), "w", container_options=muxing) as output:
        stream = output.add_stream(encoder, rate=25, options=dict(options))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = form
        context = stream.codec_context
        base = Fraction(1, 25) if even else Fraction(1, 1000)
        context.time_base = base
        if aspect:
            context.sample_aspect_ratio = aspect
        if transfer:
            context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        if degrees:
            stream.set_display_rotation(degrees)
        audio = output.add_stream(sound, rate=48000) if sound else None
        if sound == "wmav2":
            audio.bit_rate = 192_000
        if sound == "vorbis":
            audio.codec_context.options = {"strict": "experimental"}
        if subtitles:
            output.add_stream(subtitles)
        for picture, time_ms in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(picture)
            if transfer:
                frame = frame.reformat(format=form, dst_colorspace=9)
            frame.pts, frame.time_base = int(Fraction(time_ms + start_ms, 1000) / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if audio:
            tone(output, audio, 0.5, start_ms / 1000)
    return path


def write_animation(path, frames, times_ms=EVEN_MS):
    """Write an animation with Pillow."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    durations = [*np.diff(times_ms).tolist(), 40]
    options = {"quality": 95} if path.suffix in (".avif", ".webp") else {}
    first.save(path, save_all=True, append_images=rest, duration=durations, **options)
    return path


VIDEOS = [
    *(("mp4", "h264", {"sound": sound}) for sound in ("aac", "libmp3lame", "libopus", "flac", "ac3", "alac", None)),
    *(("mov", "h264", {"sound": sound}) for sound in ("pcm_s16le", "pcm_s24le", "alac")),
    *(
        ("mkv", "h264", {"sound": sound})
        for sound in ("aac", "libopus", "vorbis", "flac", "pcm_s16le", "libmp3lame", "mp2")
    ),
    *(("mp4", codec, {"sound": "aac"}) for codec in ("hevc", "hevc 10 bit", "av1", "mpeg4", "vp9", "h264 10 bit")),
    *(("mp4", codec, {"sound": "aac"}) for codec in ("h264 4:4:4", "h264 full range", "h264 B-frames", "mjpeg")),
    *(("mov", codec, {"sound": "pcm_s16le"}) for codec in ("prores", "mjpeg", "hevc", "qtrle", "png")),
    *(
        ("webm", "vp8", {"sound": "vorbis"}),
        ("webm", "vp9", {"sound": "libopus"}),
        ("webm", "av1", {"sound": "libopus"}),
    ),
    *(("mkv", codec, {"sound": "flac"}) for codec in ("ffv1", "vp8", "mpeg2", "mjpeg", "h264 B-frames")),
    *(("avi", "mpeg4", {"sound": "libmp3lame"}), ("avi", "mjpeg", {"sound": "pcm_s16le"}), ("avi", "raw", {})),
    *(("avi", "h264", {"sound": "ac3"}), ("ts", "h264", {"sound": "aac"}), ("ts", "mpeg2", {"sound": "mp2"})),
    *(("ts", "hevc", {"sound": "ac3"}), ("mts", "h264 B-frames", {"sound": "ac3"}), ("mpg", "mpeg1", {"sound": "mp2"})),
    *(
        ("flv", "h264", {"sound": "aac"}),
        ("flv", "flv1", {}),
        ("wmv", "wmv2", {"sound": "wmav2"}),
        ("m4v", "h264", {"sound": "aac"}),
    ),
    *(("mp4", "hevc 10 bit", {"transfer": number, "sound": "aac"}) for number in (16, 18)),
    *(("mp4", "h264", {"degrees": degrees, "sound": "aac"}) for degrees in (90, -90, 180)),
    *(
        ("mov", "prores", {"degrees": 90}),
        ("mp4", "h264", {"aspect": Fraction(2, 1)}),
        ("mkv", "h264", {"aspect": Fraction(1, 2)}),
    ),
    *((suffix, "h264", {"times_ms": UNEVEN_MS, "sound": "aac"}) for suffix in ("mp4", "mov", "mkv", "ts")),
    *(("webm", "vp9", {"times_ms": UNEVEN_MS, "sound": "libopus"}), ("mp4", "h264 B-frames", {"times_ms": UNEVEN_MS})),
    *((suffix, "h264", {"start_ms": 2000, "sound": "aac"}) for suffix in ("mp4", "mkv", "ts")),
    *(
        (suffix, codec, {"size": (101, 63)})
        for suffix, codec in (("mp4", "h264 4:4:4"), ("mkv", "ffv1"), ("webm", "vp9"))
    ),
    *((suffix, "animation", {}) for suffix in ("gif", "webp", "png", "avif")),
    *((suffix, "animation", {"times_ms": UNEVEN_MS}) for suffix in ("gif", "webp", "png", "avif")),
    *((suffix, "animation", {"size": (101, 63)}) for suffix in ("gif", "webp", "apng")),
]
TICK_MS = {"mkv": 1, "webm": 1, "flv": 1, "wmv": 1, "avif": 1}
"""Of formats that do not keep every time."""


@pytest.mark.parametrize(("suffix", "codec", "about"), VIDEOS, ids=str)
def test_videos(tmp_path, face, suffix, codec, about):
    width, height = about.get("size", SIZE)
    given = {name: value for name, value in about.items() if name != "size"}
    frames = [moving(face, 9 * i)[40 : 40 + height, 60 : 60 + width] for i in range(COUNT)]
    path = tmp_path / f"a.{suffix}"
    if codec == "animation":
        write_animation(path, frames, **given)
    else:
        write_video(path, frames, codec, **given)
    wanted, least_db = frames, ENCODERS[codec][3] if codec in ENCODERS else ANIMATION_DB[suffix]
    if "degrees" in about:
        wanted = [np.rot90(frame, about["degrees"] // 90) for frame in frames]
    if "transfer" in about:
        least_db = 28  # bright colours are spread
        wanted = [tone_mapped(frame, {16: "pq", 18: "hlg"}[about["transfer"]]) for frame in frames]
    if "aspect" in about:
        size = (int(width * about["aspect"]), height)
        wanted = [cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames]
    with open_reader(path) as reader:
        back = list(reader)
        assert reader.size == (wanted[0].shape[1], wanted[0].shape[0])
        assert reader.has_audio == ("sound" in about and about["sound"] is not None)
        assert not reader.truncated
    assert len(back) == COUNT
    times_ms = [float(frame.pts * reader.time_base * 1000) for frame in back]
    assert np.abs(np.subtract(times_ms, about.get("times_ms", EVEN_MS))).max() <= TICK_MS.get(suffix, 0.02)
    assert min(psnr(frame.image, one) for frame, one in zip(back, wanted, strict=True)) > least_db
    if reader.has_audio:
        joined_sound(path, reader, back, tmp_path)


def joined_sound(path, reader, frames, folder):
    """The sound is in the output, as it was or as AAC, with its pitch."""
    size = (frames[0].image.shape[1], frames[0].image.shape[0])
    with VideoWriter(folder / "s.mp4", size=size, time_base=reader.time_base, rate_hint=Fraction(25)) as writer:
        for frame in frames:
            writer.write(frame.image, frame.pts)
        writer.close(reader.end_pts)
    assert join_segments([folder / "s.mp4"], folder / "o.mp4", tracks_from=path).audio
    with av.open(str(path)) as source, av.open(str(folder / "o.mp4")) as made:
        codec = made.streams.audio[0].codec_context.name
        assert codec in (source.streams.audio[0].codec_context.name, "aac")
        decoded = list(made.decode(audio=0))
    samples = np.concatenate([np.atleast_2d(frame.to_ndarray())[0] for frame in decoded]).astype(float)
    samples = samples[:: 1 if decoded[0].format.is_planar else decoded[0].layout.nb_channels]
    assert abs(decoded[0].time) < 0.05
    assert 0.4 < len(samples) / 48000 < 0.6
    assert abs(np.abs(np.fft.rfft(samples[4800:14400])).argmax() * 5 - 440) <= 5


NO_VIDEO = {
    "song.mp4": lambda folder: song(folder / "song.mp4"),
    "photo.mp4": lambda folder: Image.new("RGB", (64, 64)).save(folder / "photo.mp4", "PNG"),
    "text.mkv": lambda folder: (folder / "text.mkv").write_text("no video\n" * 99),
    "zeros.mp4": lambda folder: (folder / "zeros.mp4").write_bytes(bytes(5000)),
    "list.mp4": lambda folder: (folder / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n"),
    "start.mp4": lambda folder: cut(folder / "start.mp4", "h264", 3000),
    "start.webm": lambda folder: cut(folder / "start.webm", "vp9", 300),
}


def song(path):
    with av.open(str(path), "w") as output:
        tone(output, output.add_stream("aac", rate=48000), 0.5, 0)


def cut(path, codec, size):
    write_video(path, [moving(head(), 9 * i)[:96, :128] for i in range(COUNT)], codec)
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("name", NO_VIDEO)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, name):
    NO_VIDEO[name](tmp_path)
    with pytest.raises(MediaError) as caught:
        open_reader(tmp_path / name)
    assert is_one_sentence(str(caught.value), tmp_path / name)


# From files to a file


@pytest.fixture(scope="module")
def talking():
    """Twelve frames of the astronaut, who talks."""
    from reenactor import Reenactor
    from reenactor.engine.shipped import shipped_motions

    reenactor = Reenactor("warp", size=256, transfer="relative")
    reenactor.set_target([head()])
    return [frame.image for frame in islice(reenactor.drive(shipped_motions()["talk"]), COUNT)]


@pytest.mark.parametrize(
    ("photo", "about", "driver", "codec", "kind", "sound"),
    [
        ("heic", {"p3": True, "orientation": 6}, "webm", "vp9", {"sound": "vorbis"}, "aac"),
        ("jpg", {"mode": "CMYK"}, "webp", "animation", {"times_ms": UNEVEN_MS}, None),
        ("tiff", {"mode": "RGB16"}, "png", "animation", {}, None),
        ("png", {"mode": "PA"}, "mov", "prores", {"sound": "pcm_s16le", "degrees": 180}, "aac"),
        (
            "avif",
            {"orientation": 3},
            "mkv",
            "hevc 10 bit",
            {"sound": "flac", "subtitles": "dvbsub", "transfer": 18},
            "flac",
        ),
        ("webp", {"mode": "RGBA"}, "avif", "animation", {}, None),
    ],
)
def test_from_files_to_a_file(tmp_path, talking, photo, about, driver, codec, kind, sound):
    from reenactor import animate

    person, source = tmp_path / f"person.{photo}", tmp_path / f"driver.{driver}"
    write_photo(person, head(), **LOSSY.get(photo, {}) | about)
    turned = [frame[::-1, ::-1].copy() for frame in talking] if "degrees" in kind else talking
    (write_animation(source, turned, **kind) if codec == "animation" else write_video(source, turned, codec, **kind))
    options = Options(model="warp", size=128, max_side=256, provenance=False)
    report = animate([person], source, tmp_path / "out.mp4", options)
    assert (report.frames, report.audio, report.gaps) == (COUNT, sound is not None, [])
    left_out = ["subtitles were left out: a .mp4 cannot hold dvb"] if "subtitles" in kind else []
    assert report.left_out == left_out
    assert all(f"\n  {line}\n" in report.text() for line in left_out)
    with VideoReader(tmp_path / "out.mp4") as reader:
        frames = list(reader)
    shown_ms = [float(frame.pts * reader.time_base * 1000) for frame in frames]
    assert np.abs(np.subtract(shown_ms, kind.get("times_ms", EVEN_MS))).max() <= 1
    assert frames[0].image.shape == (256, 256, 3)
    # The photo, but for the mouth.
    assert psnr(frames[0].image[150:], read_image(person)[150:]) > 24
    if sound:
        with av.open(str(tmp_path / "out.mp4")) as made:
            assert made.streams.audio[0].codec_context.name == sound
            assert sum(frame.samples for frame in made.decode(audio=0)) > 0.4 * 48000
