"""Read and write single images."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps

from reenactor.core import MediaError
from reenactor.core.files import check_readable, replacing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MIN_SIDE_PX = 16
MAX_SIDE_PX = 8192
"""8192 x 8192 stays below the size at which Pillow suspects a decompression bomb."""

# Named, because Pillow would hand other files to programs such as Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

_SAVE_OPTIONS = {
    ".png": ("PNG", {"compress_level": 6}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95, "method": 4}),
}


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a still image."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def check_not_animated(path: str | os.PathLike[str]) -> None:
    """Refuse an animation, of which `read_image` would give the first frame only.

    Raises:
        MediaError: the file is an animated WebP, PNG or GIF, whatever its name says.
    """
    with Image.open(path) as image:
        # Pages of a TIFF, or the second image that some telephones put into a JPEG, are no animation.
        if image.format in ("WEBP", "PNG", "GIF") and getattr(image, "n_frames", 1) > 1:
            raise MediaError(f"{path} is an animation that cannot be read as one; save it as .gif or .mp4")


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as it is meant to be seen.

    EXIF orientation and an embedded colour profile are applied, transparency becomes white, 16 bits become 8. Of an
    animation the first frame is read.

    Returns:
        (H, W, 3) RGB, both sides from `MIN_SIDE_PX` to `MAX_SIDE_PX`.

    Raises:
        MediaError: missing, not an image, damaged, too small, or too large (checked before decoding).
    """
    path = Path(path)
    check_readable(path, "an image")
    with _open(path) as image:
        width, height = image.size
        if max(width, height) > MAX_SIDE_PX:
            raise _too_large(path)
        if min(width, height) < MIN_SIDE_PX:
            wanted = f"{MIN_SIDE_PX} x {MIN_SIDE_PX}"
            raise MediaError(f"{path} is only {width} x {height} pixels; give an image of at least {wanted}")
        try:
            return _decode(image)
        # Damaged files make Pillow raise almost anything: OSError, SyntaxError, ValueError, struct.error...
        except Exception as error:
            raise MediaError(f"{path} is damaged and cannot be decoded; save or download it again") from error


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=_FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_large(path) from None
    except Exception as error:
        raise MediaError(f"{path} is not an image that can be read; give a PNG, JPEG or WebP file") from error


def _too_large(path: Path) -> MediaError:
    return MediaError(f"{path} has more than {MAX_SIDE_PX} pixels on a side; scale it down and try again")


def _decode(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        grey = _eight_bits(np.asarray(image), image.mode)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.array(Image.alpha_composite(white, image).convert("RGB"))
    return np.array(_to_srgb(image, profile))


def _eight_bits(grey: np.ndarray, mode: str) -> UInt8[np.ndarray, "h w"]:
    """Integers are 16-bit samples (sometimes widened to 32); floats are 0..1, or 0..255 if any is larger."""
    if not mode.startswith("F"):
        grey = grey / 257.0
    elif grey.max() <= 1:
        grey = grey * 255.0
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Phones save wide-gamut (Display P3) photos, whose numbers look dull when taken for sRGB."""
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is no reason to refuse the image
    return image.convert("RGB")


def write_image(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write an image atomically; the suffix (.png, .jpg, .jpeg, .webp) chooses the format.

    Raises:
        MediaError: unknown suffix, or the file cannot be written.
        ValueError: not a (H, W, 3) uint8 array.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if path.suffix.lower() not in _SAVE_OPTIONS:
        raise MediaError(f"cannot write {path}: the name must end in {', '.join(_SAVE_OPTIONS)}")
    file_format, options = _SAVE_OPTIONS[path.suffix.lower()]
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format=file_format, **options)
