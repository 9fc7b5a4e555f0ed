import errno
import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from factories import EXIF_UNDO, is_one_sentence, psnr
from reenactor.core import MediaError, ReenactError
from reenactor.media import MAX_SIDE_PX, images, is_image, is_video, read_image, read_rgba, write_image


def refuses(path, words):
    with pytest.raises(MediaError) as caught:
        read_image(path)
    assert is_one_sentence(str(caught.value), path), caught.value
    assert words in str(caught.value)


def swapped_profile():
    """sRGB with the primaries of red and blue exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {
        bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(struct.unpack(">I", data[128:132])[0])
    }
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = data[blue + 4 : blue + 12], data[red + 4 : red + 12]
    return bytes(data)


def png_header(width, height):
    """A PNG file that claims a size, with too little data for one row."""

    def chunk(body):
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT" + zlib.compress(b"\0")) + chunk(b"IEND")


@pytest.mark.parametrize(("suffix", "quality_db"), [(".png", 200), (".jpg", 38), (".JPEG", 38), (".webp", 35)])
def test_what_is_written_is_read(tmp_path, face, suffix, quality_db):
    path = tmp_path / f"a{suffix}"
    write_image(path, face)
    back = read_image(path)
    assert back.shape == face.shape
    assert back.dtype == np.uint8
    assert back.flags.writeable
    assert psnr(back, face) > quality_db
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, face, orientation):
    upright = face[:, :200]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(EXIF_UNDO[orientation](upright)))
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)


def test_other_pixel_formats(tmp_path, face):
    grey = face.mean(-1).astype(np.uint8)
    expected = np.repeat(grey[..., None], 3, 2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    for name in ("grey.png", "grey16.png", "float.tif"):
        assert np.array_equal(read_image(tmp_path / name), expected), name
    palette = Image.fromarray(face).quantize(64)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), np.array(palette.convert("RGB")))
    Image.fromarray(face).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert psnr(read_image(tmp_path / "cmyk.jpg"), face) > 35
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    assert np.array_equal(read_image(tmp_path / "bits.png")[..., 0], np.where(grey > 99, 255, 0))


# How each mode is made of an RGBA picture, what colours it keeps, whether it keeps opacity, and the likeness in dB.
MODES = {
    "1": (("L", "1"), "1", False, 200),
    "L": (("L",), "L", False, 200),
    "LA": (("LA",), "L", True, 50),
    "La": (("LA", "La"), "L", True, 45),
    "P": (("RGB", "P"), "P", False, 200),
    "PA": (("RGB", "P", "PA"), "P", False, 200),
    "RGB": (("RGB",), "RGB", False, 200),
    "RGBA": (("RGBA",), "RGB", True, 50),
    "RGBa": (("RGBa",), "RGB", True, 45),
    "RGBX": (("RGB", "RGBX"), "RGB", False, 200),
    "CMYK": (("RGB", "CMYK"), "RGB", False, 200),
    "YCbCr": (("RGB", "YCbCr"), "RGB", False, 40),
    "HSV": (("RGB", "HSV"), "RGB", False, 40),
    "LAB": (("RGB", "LAB"), "RGB", False, 40),
    "I": (("L", "I"), "L", False, 200),
    "I;16": (("L", "I;16"), "L", False, 200),
    "F": (("L", "F"), "L", False, 200),
}


@pytest.mark.parametrize("mode", MODES)
def test_pillow_pictures_of_all_modes(face, mode):
    steps, kept, transparent, quality_db = MODES[mode]
    picture = Image.fromarray(np.dstack([face, face[..., 0]]))
    colours = picture.convert("L") if kept == "1" else picture.convert("RGB")
    colours = np.asarray(colours.convert(kept).convert("RGB"), float)
    for step in steps:
        picture = picture.convert(step)
    if mode in ("I", "I;16"):
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).convert(mode)
    assert picture.mode == mode
    before = picture.tobytes()
    got = read_image(picture)
    assert picture.tobytes() == before
    assert got.flags.writeable
    part = face[..., :1] / 255 if transparent else 1.0
    assert psnr(got, np.rint(part * colours + (1 - part) * 255).astype(np.uint8)) >= quality_db


def test_a_pillow_picture_is_read_as_its_file(tmp_path, face):
    """Turned, with a profile, and transparent where its file is."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(face[:200])
    image.putalpha(Image.fromarray(face[:200, :, 1]))
    for name in ("a.png", "a.webp"):
        image.save(tmp_path / name, exif=exif, icc_profile=swapped_profile(), lossless=True, exact=True)
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(read_image(opened), read_image(tmp_path / name))
            np.testing.assert_array_equal(read_rgba(opened), read_rgba(tmp_path / name))
    rgba = read_rgba(tmp_path / "a.png")
    np.testing.assert_array_equal(rgba[..., 3], np.rot90(face[:200, :, 1], -1))
    assert psnr(rgba[..., :3], np.rot90(face[:200], -1)[..., ::-1]) > 35
    with pytest.raises(MediaError, match=r"^photo 3 is only 8 x 300 pixels; give"):
        read_image(Image.new("RGB", (8, 300)), name="photo 3")
    cut = io.BytesIO((tmp_path / "a.png").read_bytes()[:9000])
    with Image.open(cut) as opened, pytest.raises(MediaError, match=r"^the picture is damaged"):
        read_image(opened)


def test_opacity_is_read_apart_from_the_colours(tmp_path, face):
    image = Image.fromarray(face)
    image.save(tmp_path / "whole.png")
    assert (read_rgba(tmp_path / "whole.png")[..., 3] == 255).all()
    image.putalpha(Image.fromarray(face[..., 2] // 2))
    image.save(tmp_path / "half.png")
    np.testing.assert_array_equal(read_rgba(tmp_path / "half.png"), np.dstack([face, face[..., 2] // 2]))


def test_transparency_lies_on_white(tmp_path, face):
    alpha = np.full((256, 256, 1), 255, np.uint8)
    alpha[:100], alpha[100:200] = 0, 128
    Image.fromarray(np.concatenate([face, alpha], -1)).save(tmp_path / "a.png")
    back = read_image(tmp_path / "a.png").astype(float)
    assert (back[:100] == 255).all()
    assert np.abs(back[100:200] - (face[100:200] * 128.0 + 255 * 127) / 255).max() <= 1
    assert np.array_equal(back[200:], face[200:])


@pytest.mark.parametrize("kind", ["RGBA", "P", "PA", "LA"])
def test_a_colour_profile_is_applied_to_transparent_pictures_too(tmp_path, face, kind):
    """The profile swaps red and blue: no conversion leaves the picture as it was."""
    alpha = np.full((256, 256, 1), 255, np.uint8)
    alpha[:100] = 0
    if kind == "LA":
        picture = Image.fromarray(face).convert("LA")
        wanted = np.asarray(picture.convert("RGB"))
    else:
        picture = Image.fromarray(np.concatenate([face, alpha], -1))
        if kind != "RGBA":
            picture = picture.quantize(255, method=Image.Quantize.FASTOCTREE)
        wanted = np.asarray(picture.convert("RGBA"))[..., 2::-1]
    picture.save(tmp_path / "a.png", icc_profile=swapped_profile())
    back = read_image(tmp_path / "a.png")
    assert np.abs(back[100:].astype(int) - wanted[100:]).mean() < 2
    if kind != "LA":
        assert (back[:100] == 255).all()


def test_a_colour_profile_is_applied(tmp_path, face):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(face).save(tmp_path / "srgb.png", icc_profile=srgb)
    assert np.abs(read_image(tmp_path / "srgb.png").astype(int) - face).max() <= 1
    Image.fromarray(face).save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert np.array_equal(read_image(tmp_path / "broken.png"), face)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((20_000, 40), "strip of 20000 x 40"),
        ((40, 20_000), "strip of 40 x 20000"),
        ((66_000, 1000), "more than 100 megapixels or 65536"),
        ((20_000, 20_000), "more than 100 megapixels"),  # Pillow's alarm
        ((12_000, 9_000), "more than 100 megapixels"),
    ],
)
def test_too_large_is_told_from_the_header(tmp_path, size, words):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(*size))
    refuses(path, words)


@pytest.mark.parametrize(
    ("suffix", "size"), [("jpg", (MAX_SIDE_PX + 408, 600)), ("jpg", (17_000, 600)), ("png", (600, 8800))]
)
def test_what_is_larger_is_read_reduced(tmp_path, suffix, size):
    ramp = np.linspace(0, 255, size[0])[None] + np.zeros((size[1], 1))
    Image.fromarray(ramp.astype(np.uint8)).convert("RGB").save(tmp_path / f"a.{suffix}", quality=95)
    back = read_image(tmp_path / f"a.{suffix}")
    factor = 2 if max(size) < 16_384 else 4
    assert back.shape == (-(-size[1] // factor), -(-size[0] // factor), 3)
    wanted = np.linspace(0, 255, back.shape[1])[None, :, None]
    assert np.abs(back - wanted).mean() < 1.5


def test_a_jpeg_with_a_second_picture_is_a_jpeg(tmp_path, face, monkeypatch):
    monkeypatch.setattr(images, "MAX_SIDE_PX", 128)
    monkeypatch.setattr(images, "_MOST_PIXELS", 256)
    picture, second = Image.fromarray(face), Image.fromarray(face[::2, ::2])
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.format == "MPO"
    assert psnr(read_image(tmp_path / "a.jpg"), np.asarray(picture.reduce(2))) > 30


@pytest.mark.parametrize(
    ("name", "quality_db"), [("a.heic", 35), ("a.HEIF", 35), ("a.avif", 35), ("a.jp2", 35), ("a.j2k", 35)]
)
def test_what_telephones_and_archives_write(tmp_path, face, name, quality_db):
    path = tmp_path / name
    if name.lower().startswith("a.he"):
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(face)).save(path, quality=90)
    else:
        Image.fromarray(face).save(path, quality=90) if name == "a.avif" else Image.fromarray(face).save(path)
    assert is_image(path)
    assert psnr(read_image(path), face) > quality_db
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuses(path, "")


def test_heic_is_upright_in_its_own_colours(tmp_path, face):
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.ascontiguousarray(np.rot90(face[:, :200], 1)))
    heif.register_heif_opener()
    picture.save(tmp_path / "a.heic", quality=90, exif=exif.tobytes())
    assert psnr(read_image(tmp_path / "a.heic"), face[:, :200]) > 33


def test_without_pillow_heif_heic_asks_for_it(tmp_path, face, monkeypatch):
    pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(face)).save(tmp_path / "a.heic")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "pillow_heif" else find(name, *rest)
    )
    with pytest.raises(ReenactError, match="is a HEIC photo, which needs the extra 'heic'"):
        read_image(tmp_path / "a.heic")


def test_too_small(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    refuses(tmp_path / "a.png", "only 1 x 1 pixels")


def test_what_is_no_readable_image(tmp_path, face):
    refuses(tmp_path / "none.png", "does not exist")
    refuses(tmp_path, "is a folder")
    (tmp_path / "text.png").write_text("no picture" * 100)
    refuses(tmp_path / "text.png", "not an image")
    (tmp_path / "empty.png").touch()
    refuses(tmp_path / "empty.png", "is empty")
    for suffix in ("png", "jpg", "webp"):
        whole = io.BytesIO()
        Image.fromarray(face).save(whole, format={"jpg": "jpeg"}.get(suffix, suffix))
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        refuses(cut, "give a PNG" if suffix == "webp" else "damaged")


def test_writing_where_nothing_can_be_written(tmp_path, face, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    places = {
        tmp_path / "a.tiff": "must end in",
        tmp_path / "missing" / "a.png": "does not exist",
        tmp_path / "file" / "a.png": "is not a folder",
    }
    for path, words in places.items():
        with pytest.raises(MediaError, match=words) as caught:
            write_image(path, face)
        assert is_one_sentence(str(caught.value), path)
    for number, words in {errno.ENOSPC: "disk is full", errno.EROFS: "not permitted"}.items():

        def fail(*args, number=number, **options):
            raise OSError(number, "told by the system")

        monkeypatch.setattr(Image.Image, "save", fail)
        (tmp_path / "old.png").write_bytes(b"kept")
        with pytest.raises(MediaError, match=words) as caught:
            write_image(tmp_path / "old.png", face)
        assert is_one_sentence(str(caught.value), tmp_path / "old.png")
        assert (tmp_path / "old.png").read_bytes() == b"kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "old.png"]


def test_wrong_arrays_are_the_callers_fault(tmp_path, face, unchecked):
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", face.astype(np.float32))
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", face[..., 0])


def test_suffixes():
    assert is_image("folder/A.JPG")
    assert not is_image("a.mp4")
    assert is_video("a.Mov")
    assert not is_video("a")
