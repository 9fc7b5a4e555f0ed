"""Landmarks as whole numbers and as compressed bytes: the only encoding of stored landmarks.

Coordinates are rounded to steps of a fraction of a pixel; the error is half a step at most. Motion files and the
engine's track folder store these numbers as they are (int16). Shards store them compressed: a mesh moves smoothly in
time and neighbours move alike, so each number is predicted from the frame before and from a neighbouring vertex, and
the differences are packed with LZMA (430 bytes a frame at 1/16 pixel; 600 with differences in time alone, 1,900 with
none). docs/data.md describes the layout for those who write their own reader.
"""

from __future__ import annotations

import lzma
import struct
from functools import cache

import numpy as np
from jaxtyping import Float, Int, Int16, UInt8

from reenactor.core.errors import ReenactError
from reenactor.core.landmarks import MESH_POINTS

MAGIC = b"RLM1"
_HEADER = struct.Struct("<4sHHI")
"""Magic, steps per pixel, vertices, frames."""
_MOST_FRAMES = 100_000
"""Of one clip; more are not unpacked."""
_LIMIT = 2**15 - 1

_FILTERS = [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]
"""No contexts: the bytes are nearly independent noise, and the file is 4% smaller than with lzma's own settings."""

# fmt: off
PARENTS: tuple[int, ...] = (
    11, 1, 94, 236, 45, 51, 122, 246, 168, 8, 151, 12, 13, 14, 87, 14, 15, 16, 17, 1, 238, 71, 153, 472, 144, 7,
    232, 159, 158, 30, 247, 226, 194, 246, 139, 226, 142, 167, 72, 73, 74, 81, 80, 146, 241, 44, 225, 126, 219,
    48, 205, 134, 223, 224, 68, 193, 157, 61, 172, 75, 99, 76, 78, 53, 235, 222, 65, 69, 63, 66, 46, 156, 37,
    41, 42, 60, 62, 96, 146, 239, 88, 178, 38, 18, 85, 86, 87, 82, 178, 88, 89, 90, 186, 132, 141, 88, 95, 99,
    240, 20, 120, 119, 64, 104, 105, 52, 91, 55, 69, 108, 163, 117, 133, 247, 128, 218, 111, 228, 229, 230, 231,
    47, 188, 116, 113, 19, 209, 234, 233, 102, 33, 115, 58, 155, 220, 169, 135, 227, 135, 143, 32, 242, 126, 35,
    472, 153, 77, 213, 171, 170, 169, 108, 175, 469, 26, 154, 124, 173, 159, 468, 471, 471, 139, 7, 2, 92, 59,
    97, 6, 210, 211, 208, 138, 155, 217, 199, 140, 137, 87, 178, 179, 180, 181, 191, 183, 184, 57, 207, 114,
    190, 173, 95, 214, 245, 182, 3, 174, 196, 209, 200, 18, 83, 43, 129, 106, 206, 203, 216, 201, 49, 202, 204,
    57, 192, 212, 177, 186, 126, 79, 166, 237, 56, 28, 27, 29, 30, 130, 34, 31, 24, 23, 22, 121, 112, 93, 59,
    174, 239, 241, 238, 75, 125, 20, 133, 233, 244, 161, 246, 195, 466, 462, 301, 380, 477, 373, 249, 452, 386,
    385, 260, 467, 446, 418, 466, 368, 446, 371, 302, 312, 303, 304, 311, 310, 375, 461, 4, 445, 355, 439, 278,
    425, 5, 443, 444, 298, 417, 384, 291, 397, 305, 328, 306, 308, 283, 455, 442, 295, 299, 293, 296, 276, 383,
    268, 271, 272, 290, 292, 325, 375, 459, 318, 402, 317, 18, 315, 316, 317, 14, 402, 318, 319, 320, 410, 361,
    318, 324, 328, 460, 250, 349, 348, 294, 333, 334, 282, 321, 285, 299, 337, 390, 346, 362, 467, 357, 438,
    340, 448, 449, 450, 451, 277, 6, 345, 342, 19, 429, 454, 453, 331, 263, 344, 288, 382, 281, 394, 364, 447,
    364, 372, 262, 94, 355, 265, 477, 380, 307, 433, 396, 395, 394, 476, 256, 381, 353, 398, 386, 473, 474, 474,
    368, 249, 322, 289, 326, 430, 431, 428, 367, 382, 419, 369, 366, 317, 402, 403, 404, 405, 415, 407, 408,
    287, 427, 351, 414, 398, 324, 434, 465, 406, 197, 429, 313, 273, 358, 335, 426, 423, 436, 421, 279, 422,
    424, 287, 416, 432, 401, 410, 355, 309, 392, 457, 286, 258, 257, 259, 260, 359, 264, 261, 254, 253, 252,
    350, 341, 323, 289, 248, 459, 461, 458, 305, 354, 370, 362, 453, 464, 388, 466, 145, 157, 159, 144, 145,
    374, 373, 386, 384, 374,
)
# fmt: on
"""For each vertex the neighbour that predicts it: the shortest tree over the mean face, rooted at the tip of the nose
(vertex 1, its own parent). Part of the file format; it must never change."""
_ROOT = 1


def steps_per_px(image_size: tuple[int, int]) -> int:
    """Steps of an int16 per pixel: the finest power of two that holds points up to half an image outside of it.

    Args:
        image_size: width and height, pixels.
    """
    return 2 ** int(np.floor(np.log2(32767 / (1.5 * max(image_size)))))


def quantize(mesh_px: Float[np.ndarray, "*t 478 3"], steps: int) -> Int16[np.ndarray, "*t 478 3"]:
    """Pixels -> int16 steps of 1 / `steps` pixel; values that do not fit are clipped."""
    return np.clip(_rounded(mesh_px, steps), -32768, 32767).astype(np.int16)


def dequantize(mesh: Int[np.ndarray, "*t 478 3"], steps: int) -> Float[np.ndarray, "*t 478 3"]:
    """Steps of 1 / `steps` pixel -> float32 pixels."""
    return mesh.astype(np.float32) / np.float32(steps)


def _rounded(mesh_px: Float[np.ndarray, "*t 478 3"], steps: int) -> Float[np.ndarray, "*t 478 3"]:
    return np.rint(mesh_px.astype(np.float64) * steps)


def encode_landmarks(mesh_px: Float[np.ndarray, "t 478 3"], steps: int) -> bytes:
    """Landmarks -> compressed bytes; the same landmarks always give the same bytes.

    Args:
        mesh_px: (T, 478, 3) pixels.
        steps: per pixel; the error after decoding is 0.5 / steps pixels at most.

    Raises:
        ValueError: another shape, values that are not finite, or beyond 32767 / steps pixels.
    """
    if mesh_px.ndim != 3 or mesh_px.shape[1:] != (MESH_POINTS, 3) or len(mesh_px) == 0:
        raise ValueError(f"landmarks need shape (T, {MESH_POINTS}, 3), got {mesh_px.shape}")
    scaled = _rounded(mesh_px, steps)
    if not np.abs(scaled).max() <= _LIMIT:
        raise ValueError(f"landmarks must be finite and within {_LIMIT // steps} pixels")
    whole = scaled.astype(np.int32)
    change = np.diff(whole, axis=0, prepend=0)
    rest = change - change[:, list(PARENTS)]
    rest[:, _ROOT] = change[:, _ROOT]
    # Small numbers of either sign become small numbers: 0, -1, 1, -2... -> 0, 1, 2, 3...
    folded = ((rest << 1) ^ (rest >> 31)).transpose(2, 1, 0).astype("<u4")
    planes = folded.reshape(-1, 1).view(np.uint8)[:, :3].T
    packed = lzma.compress(planes.tobytes(), format=lzma.FORMAT_ALONE, filters=_FILTERS)
    return _HEADER.pack(MAGIC, steps, MESH_POINTS, len(mesh_px)) + packed


def decode_landmarks(data: bytes) -> Float[np.ndarray, "t 478 3"]:
    """Compressed bytes -> (T, 478, 3) float32 pixels.

    Raises:
        ReenactError: not landmarks, or damaged.
    """
    try:
        magic, steps, points, frames = _HEADER.unpack_from(data)
        if magic != MAGIC or points != MESH_POINTS or steps == 0:
            raise ValueError("another format")
        # Whatever the data says of itself, no more than the header promises is unpacked.
        most = 9 * points * min(frames, _MOST_FRAMES)
        raw = lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data[_HEADER.size :], most + 1)
        planes = np.frombuffer(raw, np.uint8).reshape(3, 3, points, frames)
    except (struct.error, lzma.LZMAError, ValueError) as error:
        raise ReenactError("these landmarks are damaged or of another format; prepare the data again") from error
    return dequantize(_restore(planes), steps)


def _restore(planes: UInt8[np.ndarray, "3 3 478 t"]) -> Int[np.ndarray, "t 478 3"]:
    """(byte, coordinate, vertex, frame) -> steps."""
    low, middle, high = planes.astype(np.int32)
    folded = (low | middle << 8 | high << 16).transpose(2, 1, 0)
    change = (folded >> 1) ^ -(folded & 1)
    parents = np.array(PARENTS)
    for level in _levels():
        change[:, level] += change[:, parents[level]]
    return np.cumsum(change, axis=0)


@cache
def _levels() -> list[Int[np.ndarray, " n"]]:
    """Vertices at depth one, two, three... of the tree."""
    parents = np.array(PARENTS)
    known = np.arange(MESH_POINTS) == _ROOT
    levels = []
    while not known.all():
        level = np.flatnonzero(known[parents] & ~known)
        known[level] = True
        levels.append(level)
    return levels
