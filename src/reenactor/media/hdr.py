"""HDR video (HLG and PQ, BT.2100) brought to the range of ordinary video."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

TRANSFERS: dict[int, Literal["pq", "hlg"]] = {16: "pq", 18: "hlg"}
"""FFmpeg's numbers (ITU-T H.273) of the transfer characteristics that are HDR."""
_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
"""Diffuse white (BT.2408), and the display that HLG is shown on."""
_KNEE = 0.7
"""Of diffuse white: what is brighter is compressed."""
_GAMMA = 2.4
"""Of a display of ordinary video (BT.1886)."""
_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]])
_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""From BT.2020's linear RGB to BT.709's."""


def tone_mapped(image: UInt8[np.ndarray, "h w 3"], transfer: Literal["pq", "hlg"]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in BT.709's colours and brightness.

    Up to 0.7 of diffuse white (203 nits) brightness stays; above, it approaches white. Of the three channels the
    largest one is compressed and the others with it, so hues stay.

    Args:
        image: BT.2020 RGB with HDR's transfer, as decoded.
        transfer: which.
    """
    light = _LIGHT[transfer][image]
    largest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
    if transfer == "hlg":
        system = _SYSTEM * cv2.pow(cv2.transform(light, _LUMINANCE), 0.2)
        light *= system[..., None]
        largest *= system
    over = np.maximum(largest - _KNEE, 0) / (1 - _KNEE)
    light *= ((np.minimum(largest, _KNEE) + (1 - _KNEE) * (1 - cv2.exp(-over))) / np.maximum(largest, 1e-6))[..., None]
    ours = np.clip(cv2.transform(light, _BT709), 0, 1)
    return cv2.convertScaleAbs(cv2.pow(ours, 1 / _GAMMA), alpha=255)


def pq_nits(signal: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Light of a display for PQ's signal 0..1, in cd/m2 (BT.2100, table 4)."""
    root = signal ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def hlg_scene(signal: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Light of the scene, 0..1, for HLG's signal 0..1 (BT.2100, table 5).

    A display of 1,000 cd/m2 shows it times 1,000 times the fifth root of its luminance.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


_STEPS = np.linspace(0, 1, 256)
_LIGHT = {"pq": (pq_nits(_STEPS) / _WHITE_NITS).astype(np.float32), "hlg": hlg_scene(_STEPS).astype(np.float32)}
"""Of each value of a channel."""
_SYSTEM = np.float32(_PEAK_NITS / _WHITE_NITS)
