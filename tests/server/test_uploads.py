"""Files that are not what they seem, damaged, or made to harm: refused in a sentence, and nothing of them stays."""

import io
import struct
import zipfile
import zlib
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pillow_heif
import psutil
import pytest
import safetensors.numpy
from PIL import Image

from reenactor.engine.shipped import shipped_motions
from reenactor.media import VideoWriter, read_motion, read_person, write_motion, write_person
from reenactor.server import Limits, uploads
from reenactor.server.processes import ChildProcess, ProcessDiedError
from reenactor.server.uploads import PHOTO_SUFFIXES, UploadChecker, UploadError, examine, photo_suffix, video_suffix

LIMITS = Limits(check_memory_mib=512, check_seconds=5, seconds=20, frames=200)


@pytest.fixture(scope="module")
def checker():
    one = UploadChecker(LIMITS)
    yield one
    one.close()


@pytest.fixture(scope="module")
def video(tmp_path_factory, face):
    """12 frames of 256 x 256 in half a second."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    with VideoWriter(path, size=(256, 256), time_base=Fraction(1, 24), rate_hint=Fraction(24)) as writer:
        for i in range(12):
            writer.write(np.roll(face, 3 * i, 1), i)
        writer.close(12)
    return path.read_bytes()


def image_bytes(form, face, **options):
    out = io.BytesIO()
    pillow_heif.register_heif_opener()
    Image.fromarray(face).save(out, form, **options)
    return out.getvalue()


def encoded(container, codec, face, frames=4, step=1, size=(64, 64)):
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "pal8" if codec == "gif" else "yuv420p"
        stream.time_base = Fraction(1, 25)
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(face, "rgb24").reformat(*size, "rgb8" if codec == "gif" else "yuv420p")
            if codec == "gif":
                stream.pix_fmt = "rgb8"
            picture.pts = i * step
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return out.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width, height, rows):
    """A PNG of a few kilobytes that says it has so many pixels, and whose data unpack to `rows` rows."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + width * 3)) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def zipped(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.png", data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "suffix"),
    [
        *[("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("BMP", ".bmp"), ("TIFF", ".tif")],
        *[("AVIF", ".avif"), ("HEIF", ".heic"), ("JPEG2000", ".jp2")],
    ],
)
def test_photos_are_known_by_content(form, suffix, checker, face, tmp_path):
    path = tmp_path / "anything.exe"
    path.write_bytes(image_bytes(form, face))
    for driver in (False, True):
        found = checker.check(path, what="it", driver=driver)
        assert (found.suffix, found.width, found.height, found.frames) == (suffix, 256, 256, 1)
    assert suffix in PHOTO_SUFFIXES


@pytest.mark.parametrize(
    ("container", "codec", "suffix"),
    [
        ("mp4", "libx264", ".mp4"),
        ("mov", "libx264", ".mp4"),
        ("matroska", "libx264", ".mkv"),
        ("avi", "mpeg4", ".avi"),
        ("mpegts", "mpeg2video", ".ts"),
        ("flv", "flv", ".flv"),
        ("asf", "wmv2", ".wmv"),
        ("vob", "mpeg2video", ".mpg"),
    ],
)
def test_videos_are_known_by_content(container, codec, suffix, checker, face, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(encoded(container, codec, face))
    for driver in (False, True):
        found = checker.check(path, what="it", driver=driver)
        assert (found.suffix, found.width, found.height, found.frames) == (suffix, 64, 64, 4)


def test_animations_and_motions_are_known_by_content(checker, face, tmp_path):
    path = tmp_path / "x"
    pictures = [Image.fromarray(np.roll(face, i, 0)) for i in range(5)]
    pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=40)
    found = checker.check(path, what="it", driver=True)
    assert (found.suffix, found.frames) == (".gif", 5)
    path.write_bytes(shipped_motions()["blink"].read_bytes())
    found = checker.check(path, what="it", driver=True)
    assert (found.suffix, found.frames) == (".motion", 120)
    with pytest.raises(UploadError, match="photo 1 is not a photo or a video"):
        checker.check(path, what="photo 1", driver=False)
    for kind, suffix in (("WEBP", ".webp"), ("PNG", ".png"), ("AVIF", ".avif")):
        pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=40)
        for driver in (False, True):
            found = checker.check(path, what="it", driver=driver)
            assert (found.suffix, found.frames, found.seconds, found.is_photo) == (suffix, 5, 0.16, False)


def with_picture(person, webp, tmp_path):
    """The same person file with another first picture."""
    known = read_person(person)
    path = tmp_path / "changed"
    write_person(path, replace(known, pictures=(replace(known.pictures[0], webp=webp), *known.pictures[1:])))
    return path.read_bytes()


def test_person_files_are_known_by_content(checker, person, face, motion, tmp_path):
    path = tmp_path / "anything.exe"
    path.write_bytes(person.read_bytes())
    found = checker.check(path, what="it", driver=False)
    count = len(read_person(person).pictures)
    assert (found.suffix, found.width, found.height, found.frames) == (".person", 256, 256, count)
    assert not found.is_photo
    assert "no driver" in refused(checker, tmp_path, person.read_bytes(), driver=True)
    whole = person.read_bytes()
    webp = read_person(person).pictures[0].webp
    for data in (whole[:-9], *(with_picture(person, webp[:n], tmp_path) for n in (4, len(webp) // 2))):
        assert "damaged" in refused(checker, tmp_path, data, driver=False)
    foreign = safetensors.numpy.save({"w": np.zeros(9, np.float32)}, {"format": "pt"})
    for data in (foreign, motion.read_bytes(), safetensors.numpy.save({"w": np.zeros(9, np.float32)})):
        assert "not a photo or a video; send a PNG" in refused(checker, tmp_path, data, driver=False)


def test_huge_pictures_in_person_files(checker, person, face, tmp_path):
    """Told from their headers: of 1921 pixels, of the most that WebP holds, and more than this server takes."""
    wide = np.zeros((64, 1921, 3), np.uint8)
    most = bytearray(image_bytes("WEBP", face))
    at = most.index(b"\x9d\x01\x2a") + 3
    most[at : at + 4] = struct.pack("<HH", 16383, 16383)
    for webp in (image_bytes("WEBP", wide), bytes(most)):
        assert "damaged" in refused(checker, tmp_path, with_picture(person, webp, tmp_path), driver=False)
    path = tmp_path / "x"
    path.write_bytes(person.read_bytes())
    with pytest.raises(UploadError, match=r"has 256 x 256 pixels, more than the 0\.01 megapixels"):
        examine(path, replace(LIMITS, photo_megapixels=0.01), driver=False)


def test_person_files_as_targets(here, person, face):
    app = here(limits=replace(LIMITS, photo_mib=1, driver_mib=2))
    made = app.first.post("/v1/targets", files={"photos": ("me.png", person.read_bytes())})
    assert made.json()["photos"] == [{"width": 256, "height": 256, "seconds": 0}]
    assert f"targets/{made.json()['id']}/photo1.person" in app.files()
    files = app.files()
    large = with_picture(person, image_bytes("WEBP", face, exif=bytes(3 * 2**20)), tmp_path=app.settings.data.parent)
    refusal = app.first.post("/v1/targets", files={"photos": ("me.person", large)})
    assert (refusal.status_code, "photo 1 is larger than the 2 MiB" in refusal.text) == (413, True)
    assert app.files() == files


def test_playlists_are_not_followed(face, video, tmp_path):
    """FFmpeg would read what they name; told from their first bytes, before FFmpeg sees them."""
    (tmp_path / "secret.mp4").write_bytes(video)
    secret = tmp_path / "secret.mp4"
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"<?xml version='1.0'?><MPD><BaseURL>{secret}</BaseURL></MPD>",
    ):
        path = tmp_path / "x"
        path.write_text(text)
        assert photo_suffix(path.read_bytes()) is None
        assert video_suffix(path.read_bytes()) is None
        with pytest.raises(UploadError, match="no driver"):
            examine(path, LIMITS, driver=True)


def refused(checker, tmp_path, data, *, driver):
    path = tmp_path / "upload"
    path.write_bytes(data)
    with pytest.raises(UploadError) as told:
        checker.check(path, what="the file", driver=driver)
    assert "/" not in str(told.value)
    return str(told.value)


def test_limits(checker, face, tmp_path):
    assert "megapixels" in refused(checker, tmp_path, png_bomb(8000, 8000, 0), driver=False)
    for side in (30_000, 2**31 - 1):
        assert "scale it down" in refused(checker, tmp_path, png_bomb(side, side, 0), driver=False)
    long = encoded("mp4", "libx264", face, frames=4, step=25 * 60)
    assert "lasts longer" in refused(checker, tmp_path, long, driver=True)
    many = encoded("mp4", "libx264", face, frames=210)
    assert "200 frames" in refused(checker, tmp_path, many, driver=True)
    wide = encoded("mp4", "mpeg4", face, frames=1, size=(3200, 3200))
    assert "9 megapixels" in refused(checker, tmp_path, wide, driver=True)
    assert "empty" in refused(checker, tmp_path, b"", driver=True)


def test_a_motion_that_begins_too_early(checker, tmp_path):
    blink = read_motion(shipped_motions()["blink"])
    path = tmp_path / "upload"
    write_motion(path, replace(blink, pts=blink.pts - 1))
    assert "begins" in refused(checker, tmp_path, path.read_bytes(), driver=True)


def test_videos_as_targets(here, face, video, motion):
    app = here(limits=LIMITS)
    made = app.first.post("/v1/targets", files={"photos": ("me.mp4", video)})
    assert made.status_code == 201, made.text
    record = made.json()
    assert record["photos"] == [{"width": 256, "height": 256, "seconds": pytest.approx(11 / 24, abs=1e-3)}]
    assert f"targets/{record['id']}/photo1.mp4" in app.files()
    files = app.files()
    for data, word in (
        (motion.read_bytes(), "not a photo or a video"),
        (video[: len(video) // 2], "photo 1"),
        (encoded("mp4", "libx264", face, frames=4, step=25 * 60), "lasts longer"),
        (encoded("mp4", "libx264", face, frames=210), "200 frames"),
    ):
        refused = app.first.post("/v1/targets", files=[("photos", ("me.mp4", data))])
        assert refused.status_code == 422
        sentence = refused.json()["error"]
        assert word in sentence
        assert sentence.startswith("photo 1 ") or " photo 1" in sentence
        assert "/" not in sentence
        assert "\n" not in sentence
    assert app.files() == files


def test_a_video_may_be_larger_than_a_photo(here, face, video):
    app = here(limits=replace(LIMITS, photo_mib=1, driver_mib=12))
    filler = struct.pack(">I", 2**21) + b"free" + bytes(2**21 - 8)
    assert app.first.post("/v1/targets", files={"photos": ("a", video + filler)}).status_code == 201
    large = app.first.post("/v1/targets", files={"photos": ("a", image_bytes("PNG", face) + filler)})
    assert (large.status_code, "photo 1 is larger than the 1 MiB" in large.text) == (413, True)
    # One large video, or several that share its limit.
    several = [("photos", ("a", video + 3 * filler))] * 3
    assert app.first.post("/v1/targets", files=several[:2]).status_code == 201
    large = app.first.post("/v1/targets", files=several)
    assert (large.status_code, "13 MiB" in large.text) == (413, True)


def test_a_header_that_lies_about_the_length(checker, face, tmp_path):
    """Matroska whose header says 0.2 s and that goes on for 20 minutes."""
    data = bytearray(encoded("matroska", "libx264", face, frames=4, step=25 * 400))
    at = data.index(b"\x44\x89")  # the segment's duration, a float
    data[at + 3 : at + 11] = struct.pack(">d", 200.0)
    tag = data.index(b"DURATION") + len(b"DURATION")
    end = data.index(b"00:", tag)
    data[end : end + 12] = b"00:00:00.200"
    assert "lasts longer" in refused(checker, tmp_path, bytes(data), driver=True)


def test_memory_is_limited(face, tmp_path):
    """A picture that is allowed, for a process that is not allowed enough for it; the next upload is looked at."""
    tight = UploadChecker(Limits(check_memory_mib=48))
    small = tmp_path / "small"
    small.write_bytes(image_bytes("PNG", face))
    try:
        assert "memory or time" in refused(tight, tmp_path, png_bomb(6000, 6000, 6000), driver=False)
        assert tight.check(small, what="it", driver=False).width == 256
    finally:
        tight.close()


def never_ends(channel):
    """A decoder that turns in circles."""
    channel.receive()
    uploads._limit_time(1)
    while True:
        pass


def test_time_is_limited():
    helper = ChildProcess("test", never_ends)
    helper.send({})
    with pytest.raises(ProcessDiedError):
        helper.receive(60)


def leaves_rubbish(channel):
    """A process that was taken over."""
    channel.receive()
    channel.send_bytes(b"\x80\x04rubbish")
    channel.receive()


def test_a_helper_that_was_taken_over_cannot_take_over():
    helper = ChildProcess("test", leaves_rubbish)
    helper.send({})
    with pytest.raises(ProcessDiedError):
        helper.receive(30)
    assert not helper.running


def mutated(rng, sources):
    """One of the real files, damaged in one of many ways: (name, bytes)."""
    data = bytearray(sources[rng.integers(len(sources))])
    way = rng.integers(7)
    if way == 0:
        data = data[: rng.integers(len(data))]
    elif way == 1:
        for at in rng.integers(len(data), size=rng.integers(1, 30)):
            data[at] = rng.integers(256)
    elif way == 2:
        at = rng.integers(len(data))
        data[at:at] = rng.bytes(rng.integers(1, 2000))
    elif way == 3:
        first, last = sorted(rng.integers(len(data), size=2))
        del data[first:last]
    elif way == 4:  # headers: sizes, counts, dimensions
        at = rng.integers(min(len(data) - 4, 200))
        data[at : at + 4] = struct.pack(">I", rng.choice([0, 1, 2**15, 2**24, 2**31 - 1, 2**31, 2**32 - 1]))
    elif way == 5:
        other = sources[rng.integers(len(sources))]
        data = data[: rng.integers(16, 400)] + other[rng.integers(len(other)) :]
    else:
        data = zipped(bytes(data)) if rng.integers(2) else rng.bytes(rng.integers(1, 3000))
    names = (
        "a.png",
        "../../../evil.png",
        "..\\..\\evil.mp4",
        "/etc/cron.d/evil",
        "a.motion",
        "x.mp4",
        "con",
        ".",
        "a%2fb",
    )
    return str(rng.choice(names)), bytes(data)


def sources_of(face, video, motion, person):
    small = np.ascontiguousarray(face[::4, ::4])
    frames = [Image.fromarray(np.roll(small, i, 0)) for i in range(3)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], duration=40)
    return [
        *(image_bytes(form, small) for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")),
        video,
        gif.getvalue(),
        encoded("matroska", "libx264", face),
        encoded("avi", "mpeg4", face),
        encoded("mpegts", "mpeg2video", face),
        encoded("mp4", "mpeg4", face),
        motion.read_bytes(),
        person.read_bytes(),
        png_bomb(30_000, 30_000, 3),
        png_bomb(7_000, 5_000, 5_000),
        zipped(bytes(2**20)),
    ]


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)], ids=["some", "a thousand"])
def test_mutated_uploads(count, here, photo, face, video, motion, person, tmp_path):
    """As photos and as drivers, through the whole API: an answer to each, the same server at the end, no file left."""
    app = here(rate_per_minute=10**6, queue=10**6, limits=LIMITS)
    rng = np.random.default_rng(count)
    sources = sources_of(face, video, motion, person)
    target = app.first.post("/v1/targets", files={"photos": ("a", photo.read_bytes())}).json()["id"]
    before = app.files()
    around = set(tmp_path.parent.iterdir())
    taken = 0
    for number in range(count):
        upload = mutated(rng, sources)
        if number % 2:
            answer = app.first.post("/v1/targets", files={"photos": upload})
            place = "/v1/targets"
        else:
            answer = app.first.post("/v1/jobs", data={"target": target}, files={"driver": upload})
            place = "/v1/jobs"
        assert answer.status_code in (201, 202, 400, 422), (number, upload[0], answer.text)
        if answer.status_code in (201, 202):
            taken += 1
            assert app.first.delete(f"{place}/{answer.json()['id']}").status_code == 204
        else:
            assert list(answer.json()) == ["error"]
            assert str(tmp_path) not in answer.text
        assert app.files() == before, (number, upload[0])
    assert 0 < taken < count
    assert set(tmp_path.parent.iterdir()) == around
    assert app.state.checks.memory_bytes() < 2**30
    assert len([child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]) <= 3
