"""Read and write single images."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps

from reenactor.core import MediaError, ReenactError
from reenactor.core.files import check_readable, replacing
from reenactor.core.system import need
from reenactor.media.video_writer import check_holds_alpha

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".jp2", ".j2k"),
)
MIN_SIDE_PX = 16
MAX_SIDE_PX = 8192
"""Larger pictures are read at a half, a quarter or an eighth of their size."""
_MOST_PIXELS = 100_000_000
"""Of files that are decoded whole before they are reduced. JPEG is decoded reduced: there Pillow's own limit, 179
megapixels, counts."""

# Named, because Pillow would hand other files to programs such as Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
_JPEG = ("JPEG", "MPO")
"""Telephones put a second picture, of depth or brightness, into a JPEG; Pillow calls that MPO."""
_ANIMATED = ("WEBP", "PNG", "GIF", "AVIF")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_SAVE_OPTIONS = {
    ".png": ("PNG", {"compress_level": 6}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95, "method": 4}),
}


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a still image."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_still(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a still picture: its name is that of an image, and its content is no animation.

    A file that cannot be opened is what its name says.
    """
    return is_image(path) and animation_format(path) is None


def animation_format(path: str | os.PathLike[str]) -> str | None:
    """ "WEBP", "PNG", "AVIF" or "GIF" if the file is an animation of that format, whatever its name says; else None."""
    try:
        with open_image(path) as image:
            # Pages of a TIFF, or the second image that some telephones put into a JPEG, are no animation.
            moves = image.format in _ANIMATED and len(frame_numbers(image)) > 1
            return image.format if moves else None
    except (OSError, ReenactError):
        return None


def frame_numbers(image: Image.Image) -> range:
    """What to `seek` for each frame; a PNG may begin with a picture that is no part of its animation."""
    return range(int(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))


def read_image(
    source: str | os.PathLike[str] | Image.Image, *, name: str = "the picture"
) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as it is meant to be seen.

    EXIF orientation and an embedded colour profile are applied, transparency becomes white, 16 bits become 8. Of an
    animation the first frame is read. A picture with a side above `MAX_SIDE_PX` is read reduced.

    Args:
        source: a file, or a Pillow picture of any mode, which stays as it is.
        name: of a Pillow picture, in messages.

    Returns:
        (H, W, 3) RGB, both sides from `MIN_SIDE_PX` to `MAX_SIDE_PX`.

    Raises:
        MediaError: missing, not an image, damaged, too small, too large (checked before decoding), or HEIC without
            pillow-heif.
    """
    return _on_white(_read(source, name))


def read_rgba(source: str | os.PathLike[str] | Image.Image, *, name: str = "the picture") -> UInt8[np.ndarray, "h w 4"]:
    """Read an image as `read_image` does, and with its transparency.

    Returns:
        (H, W, 4) RGB as stored (not multiplied), and opacity from 0 to 255, which is 255 everywhere if there is none.

    Raises:
        MediaError: as from `read_image`.
    """
    return np.array(_read(source, name).convert("RGBA"))


def _read(source: str | os.PathLike[str] | Image.Image, name: str) -> Image.Image:
    if isinstance(source, Image.Image):
        return _decoded(source, name, draft=False)
    check_readable(Path(source), "an image")
    with open_image(source) as image:
        return _decoded(image, str(source))


def _decoded(image: Image.Image, name: str, *, draft: bool = True) -> Image.Image:
    """RGB or RGBA, upright, sRGB, of a size that is allowed; with `draft` large JPEGs are decoded reduced."""
    check_size(image, name)
    try:
        width, height = image.size
        factor = _reduction(image.size)
        if draft and factor > 1 and image.format in _JPEG:
            image.draft(image.mode, (width // factor, height // factor))
        picture, left = _upright_srgb(image), _reduction(image.size)
        return picture if left == 1 else picture.reduce(left)
    # Damaged files make Pillow raise almost anything: OSError, SyntaxError, ValueError, struct.error...
    except Exception as error:
        raise damaged(name) from error


def decode(image: Image.Image, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an opened picture, or the frame of an animation that it stands at, as `read_image` does."""
    return _on_white(_decoded(image, name))


def check_size(image: Image.Image, name: str) -> None:
    """Refuse a picture that is too small, or too large to be decoded.

    Raises:
        MediaError: the message says what size is needed.
    """
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        wanted = f"{MIN_SIDE_PX} x {MIN_SIDE_PX}"
        raise MediaError(f"{name} is only {width} x {height} pixels; give an image of at least {wanted}")
    factor = _reduction(image.size)
    if factor > 8 or (image.format not in _JPEG and width * height > _MOST_PIXELS):
        raise _too_large(name)
    if min(width, height) < factor * MIN_SIDE_PX:
        raise MediaError(f"{name} is a strip of {width} x {height} pixels; cut out the part that shows the face")


def damaged(name: str) -> MediaError:
    """The error to raise when a picture cannot be decoded."""
    return MediaError(f"{name} is damaged and cannot be decoded; save or download it again")


def _on_white(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        image = Image.composite(image.convert("RGB"), white, image.getchannel("A"))
    return np.array(image)


def is_heic(start: bytes) -> bool:
    """Whether a file that begins so, 64 bytes or more, is a HEIC photo; the same container holds AVIF and MP4."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and b"avif" not in start


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open, but do not decode, a picture of a format that is read; nothing limits its size yet.

    Raises:
        MediaError: it is of another format, its header is damaged, or it is HEIC without pillow-heif.
    """
    path = Path(path)
    with path.open("rb") as file:
        heic = is_heic(file.read(64))
    if heic:
        need("pillow_heif", "heic", f"{path} is a HEIC photo, which")
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path, formats=("HEIF",) if heic else _FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Exception as error:
        raise MediaError(f"{path} is not an image that can be read; give a PNG, JPEG or WebP file") from error


def _too_large(name: Path | str) -> MediaError:
    most = _MOST_PIXELS // 1_000_000
    return MediaError(
        f"{name} has more than {most} megapixels or {8 * MAX_SIDE_PX} a side; scale it down and try again"
    )


def _reduction(size: tuple[int, int]) -> int:
    """The power of two that a size is divided by."""
    factor = 1
    while -(-max(size) // factor) > MAX_SIDE_PX:
        factor *= 2
    return factor


def _upright_srgb(image: Image.Image) -> Image.Image:
    """RGB, or RGBA if there is transparency."""
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if not image.has_transparency_data:
        return _to_srgb(image, profile)
    # The profile is of the colours alone.
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    colours = _to_srgb(image.convert("RGB"), profile)
    colours.putalpha(image.getchannel("A"))
    return colours


def _eight_bits(grey: np.ndarray, mode: str) -> UInt8[np.ndarray, "h w"]:
    """Integers are 16-bit samples (sometimes widened to 32); floats are 0..1, or 0..255 if any is larger."""
    if not mode.startswith("F"):
        grey = grey / 257.0
    elif grey.max() <= 1:
        grey = grey * 255.0
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Phones save wide-gamut (Display P3) photos, whose numbers look dull when taken for sRGB."""
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is no reason to refuse the image
    return image.convert("RGB")


def write_image(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w c"]) -> None:
    """Write an image atomically; the suffix (.png, .jpg, .jpeg, .webp) chooses the format.

    Args:
        path: the file; an earlier one is replaced.
        image: (H, W, 3) RGB, or (H, W, 4) with opacity as the fourth channel, for .png and .webp.

    Raises:
        MediaError: unknown suffix, a format without transparency, or the file cannot be written.
        ValueError: not such an array of uint8.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"an image must be (H, W, 3) or (H, W, 4) uint8, got {image.shape} {image.dtype}")
    if path.suffix.lower() not in _SAVE_OPTIONS:
        raise MediaError(f"cannot write {path}: the name must end in {', '.join(_SAVE_OPTIONS)}")
    if image.shape[2] == 4:
        check_holds_alpha(path, (".png", ".webp"))
    file_format, options = _SAVE_OPTIONS[path.suffix.lower()]
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format=file_format, **options)
