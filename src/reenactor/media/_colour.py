"""Between RGB pictures and the YCbCr of video: which matrix, which range, and without swscale's shortcuts.

By default swscale takes untagged video for BT.601 whatever its size, and converts on a path that darkens
every channel by 1 level and repeats chroma instead of interpolating it (42.8 dB against 47.6 dB on a 720p
round trip).
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from jaxtyping import UInt8

_PRECISE_READ = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_PRECISE_WRITE = Interpolation.AREA | Interpolation.ACCURATE_RND
_FAST = Interpolation.BILINEAR

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_ALPHA_FORMATS = ("rgba", "bgra", "argb", "abgr", "yuva", "gbrap", "ya8", "ya16", "pal8")


def to_rgb(frame: av.VideoFrame, size: tuple[int, int], *, precise: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Convert a decoded frame of any format to 8-bit RGB of `size` (width, height).

    Untagged YCbCr follows the players' rule: BT.709 for high definition, BT.601 below. `precise=False` is the
    shortcut described above, 10 times faster. Transparency is laid on white.
    """
    width, height = size
    flags = _PRECISE_READ if precise else _FAST
    source = None
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
        source = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    pixel_format = "rgba" if frame.format.name.startswith(_ALPHA_FORMATS) else "rgb24"
    image = frame.to_ndarray(
        width=width, height=height, format=pixel_format, src_colorspace=source, interpolation=flags
    )
    if pixel_format == "rgb24":
        return image
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_bt709(image: UInt8[np.ndarray, "h w 3"]) -> av.VideoFrame:
    """Convert RGB of even size to limited-range BT.709 yuv420p."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_PRECISE_WRITE,
    )


def tag_bt709(codec: av.VideoCodecContext) -> None:
    """Say in the stream what `to_bt709` did; players guess differently about untagged video."""
    codec.colorspace = Colorspace.ITU709
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709
    codec.color_range = ColorRange.MPEG
