"""Pictures pixel by pixel: `metrics`' costly ones by OpenCV, which takes a quarter of the time, and places in faces."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68, OUTER_EYE_CORNERS
from reenactor.face.geometry.face_mesh import face_mesh_triangles

Picture = UInt8[np.ndarray, "s s 3"]

_SIGMA_PX, _REACH_PX = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MOUTH = [MESH_TO_IBUG68[i] for i in range(48, 60)]
_MOUTH_MARGIN = 0.1
"""How far the mouth's region goes beyond the outer lips, in outer-eye distances."""
BAND_PX = 8
"""Width of the band around the face, in pictures of 256 pixels a side."""
_SUBPIXEL_BITS = 4


def similarity_map(drawn: Picture, truth: Picture) -> Float[np.ndarray, "s s 3"]:
    """`metrics.ssim_map` of one pair, equal to 1e-6."""
    a, b = (_in_01(picture).astype(np.float64) for picture in (drawn, truth))
    mean_a, mean_b = _blurred(a), _blurred(b)
    squares, product = mean_a**2 + mean_b**2, mean_a * mean_b
    variances = _blurred(a * a + b * b) - squares
    covariance = _blurred(a * b) - product
    return (2 * product + _C1) / (squares + _C1) * ((2 * covariance + _C2) / (variances + _C2))


def fine_detail(picture: Picture, mask: Float[np.ndarray, "s s"]) -> float:
    """`metrics.sharpness` of one picture."""
    brightness = (_in_01(picture) @ _LUMA).astype(np.float64)
    detail = brightness - _blurred(brightness)
    return _masked_std(detail, mask) / _masked_std(brightness, mask)


def mouth_mask(mesh_px: Float[np.ndarray, "478 3"], size: int) -> Float[np.ndarray, "1 s s"]:
    """1 within a tenth of the outer-eye distance of the lips' hull."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(mesh_px[_MOUTH, :2]).astype(np.int32)), (1,))
    right, left = mesh_px[list(OUTER_EYE_CORNERS), :2]
    radius = max(1, round(_MOUTH_MARGIN * float(np.linalg.norm(left - right))))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask, disk)[None].astype(np.float32)


def band_mask(mesh_px: Float[np.ndarray, "478 3"], size: int) -> Float[np.ndarray, "1 s s"]:
    """1 outside the mesh's silhouette, up to `BAND_PX` (of 256) away from it: where a moved face has torn its rim."""
    away = distance_to_face(mesh_px, size)
    return ((away > 0) & (away <= BAND_PX * size / 256))[None].astype(np.float32)


def distance_to_face(mesh_px: Float[np.ndarray, "478 3"], size: int) -> Float[np.ndarray, "s s"]:
    """Pixels from the mesh's silhouette; 0 inside."""
    outside = np.ones((size, size), np.uint8)
    corners = np.round(mesh_px[_face_triangles(), :2] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for corner in corners:
        cv2.fillConvexPoly(outside, corner, (0,), lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def mean_difference(drawn: Picture, truth: Picture, mask: Float[np.ndarray, "1 s s"]) -> float:
    """Mean absolute difference within a mask, in grey levels of 255; NaN where it is empty."""
    inside = mask[0] > 0
    if not inside.any():
        return float("nan")
    return float(np.abs(drawn[inside].astype(np.float64) - truth[inside]).mean())


@cache
def _face_triangles() -> Int[np.ndarray, "t 3"]:
    """Of the mesh alone, eyes and mouth closed over."""
    triangles = face_mesh_triangles()
    return triangles[(triangles < MESH_POINTS).all(axis=1)]


def _in_01(picture: Picture) -> Float[np.ndarray, "s s 3"]:
    return picture.astype(np.float32) / np.float32(255)


def _blurred(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Sigma 1.5, cut off at 5 pixels; edges as `metrics` has them."""
    kernel = _kernel()
    return cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT)


@cache
def _kernel() -> Float[np.ndarray, "11"]:
    weights = np.exp(-(np.arange(-_REACH_PX, _REACH_PX + 1) ** 2) / (2 * _SIGMA_PX**2))
    return weights / weights.sum()


def _masked_std(values: Float[np.ndarray, "s s"], mask: Float[np.ndarray, "s s"]) -> float:
    mean = (values * mask).sum() / mask.sum()
    return float(np.sqrt((((values - mean) ** 2) * mask).sum() / mask.sum()))
