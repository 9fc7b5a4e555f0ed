"""MediaPipe's face detector, with help for small and for very close faces; and its segmentation of people."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from reenactor.face.perception._native import quiet_stderr, solutions

MIN_SCORE = 0.5
DETECT_SIDE_PX = 384
"""Pictures are shrunk to this by area first: the network samples 192 pixels bilinearly, which aliases."""
MIN_TILE_PX = 96
SMALL_FACE = 1 / 6
"""Faces smaller than this fraction of the picture's longer side are detected a second time, close up."""
ZOOM = 4
"""Side of the square for that second look, in box sides."""
PERSON_SIDE_PX = 256
"""Side of the segmentation network's input; pictures are shrunk to it by area first."""
SAME_FACE_OVERLAP = 0.3
"""Intersection over union above which two boxes are one face."""


@dataclass(frozen=True)
class FaceBox:
    """A detected face, in pixels of the picture (docs/conventions.md).

    Args:
        x, y: centre of the box; it spans brows to chin.
        width, height: of the box.
        angle_deg: of the line from the image-left to the image-right eye, clockwise.
        score: the detector's confidence, 0..1.
    """

    x: float
    y: float
    width: float
    height: float
    angle_deg: float
    score: float

    def overlap(self, other: FaceBox) -> float:
        """Intersection over union."""
        w = min(self.x + self.width / 2, other.x + other.width / 2)
        w -= max(self.x - self.width / 2, other.x - other.width / 2)
        h = min(self.y + self.height / 2, other.y + other.height / 2)
        h -= max(self.y - self.height / 2, other.y - other.height / 2)
        both = max(w, 0.0) * max(h, 0.0)
        return both / (self.width * self.height + other.width * other.height - both)


class FaceDetector:
    """Detects faces in single pictures. Holds native state: use one instance per thread, and close it."""

    def __init__(self) -> None:
        module = solutions().face_detection
        with quiet_stderr():
            self._full_range: Any = module.FaceDetection(min_detection_confidence=MIN_SCORE, model_selection=1)
            self._short_range: Any = module.FaceDetection(min_detection_confidence=MIN_SCORE, model_selection=0)
            blank = np.zeros((8, 8, 3), dtype=np.uint8)
            self._full_range.process(blank)
            self._short_range.process(blank)

    def passes(self, image: UInt8[np.ndarray, "h w 3"], *, thorough: bool = True) -> Iterator[list[FaceBox]]:
        """Boxes (from left to right) of ever more thorough searches; stop at the first that holds a face.

        These are the full-range model; the short-range one (faces that fill the picture); overlapping tiles of a half,
        then of a quarter of the longer side (small faces); the picture turned by 180 degrees and on its sides.

        Args:
            image: RGB.
            thorough: also try tiles and turns, up to about 70 runs of 3 ms.
        """
        for network in (self._full_range, self._short_range):
            yield self._refined(image, _detect(network, image))
        for parts in (2, 4) if thorough else ():
            yield self._refined(image, self._detect_in_tiles(image, math.ceil(max(image.shape[:2]) / parts)))
        for quarters in (2, 1, 3) if thorough else ():
            turned = np.ascontiguousarray(np.rot90(image, quarters))
            for network in (self._full_range, self._short_range):
                boxes = self._refined(turned, _detect(network, turned))
                yield [_turned_back(box, quarters, (turned.shape[1], turned.shape[0])) for box in boxes]

    def detect(self, image: UInt8[np.ndarray, "h w 3"], *, thorough: bool = True) -> list[FaceBox]:
        """Boxes of the first pass that has any, from left to right; arguments as for `passes`."""
        return next((boxes for boxes in self.passes(image, thorough=thorough) if boxes), [])

    def _detect_in_tiles(self, image: UInt8[np.ndarray, "h w 3"], side: int) -> list[FaceBox]:
        if side < MIN_TILE_PX:
            return []
        corners = product(_starts(image.shape[0], side), _starts(image.shape[1], side))
        return [box for top, left in corners for box in _detect_part(self._full_range, image, left, top, side)]

    def _refined(self, image: UInt8[np.ndarray, "h w 3"], boxes: list[FaceBox]) -> list[FaceBox]:
        """Distinct boxes, small ones detected again close up: at 30 of 1280 pixels they are off by a face."""
        small = max(image.shape[:2]) * SMALL_FACE
        refined = [self._zoomed(image, b) if max(b.width, b.height) < small else b for b in _distinct(boxes)]
        return sorted(_distinct(refined), key=lambda box: box.x)

    def _zoomed(self, image: UInt8[np.ndarray, "h w 3"], box: FaceBox) -> FaceBox:
        side = math.ceil(ZOOM * max(box.width, box.height))
        left, top = (max(0, round(middle - side / 2)) for middle in (box.x, box.y))
        found = _detect_part(self._short_range, image, left, top, side)
        found = found or _detect_part(self._full_range, image, left, top, side)
        return min(found, key=lambda b: math.hypot(b.x - box.x, b.y - box.y), default=box)

    def close(self) -> None:
        """Free the networks."""
        self._full_range.close()
        self._short_range.close()


def person_mask(picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    """Probability that each pixel shows a person (hair, face, body, clothes), 0..1, by selfie segmentation.

    Args:
        picture: (H, W, 3) RGB.
    """
    height, width = picture.shape[:2]
    if min(height, width) > PERSON_SIDE_PX:
        picture = np.asarray(cv2.resize(picture, (PERSON_SIDE_PX, PERSON_SIDE_PX), interpolation=cv2.INTER_AREA))
    with quiet_stderr():
        network = solutions().selfie_segmentation.SelfieSegmentation(model_selection=0)
        try:
            found = network.process(np.ascontiguousarray(picture)).segmentation_mask
        finally:
            network.close()
    return cv2.resize(np.asarray(found, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def _turned_back(box: FaceBox, quarters: int, size: tuple[int, int]) -> FaceBox:
    """A box in a picture of a size that was turned anticlockwise by quarters, as it lies in the picture before."""
    for _ in range(quarters):
        width, height = size
        x, y = height - 1 - box.y, box.x
        box = replace(box, x=x, y=y, width=box.height, height=box.width, angle_deg=box.angle_deg + 90)
        size = (height, width)
    return box


def _detect(network: Any, image: UInt8[np.ndarray, "h w 3"]) -> list[FaceBox]:
    """One run of one network over one picture."""
    height, width = image.shape[:2]
    shrink = max(height, width) / DETECT_SIDE_PX
    if shrink > 1:
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    detections = network.process(np.ascontiguousarray(image)).detections or []
    return [_box(d, width, height) for d in detections]


def _detect_part(network: Any, image: UInt8[np.ndarray, "h w 3"], left: int, top: int, side: int) -> list[FaceBox]:
    """One run over a square part of the picture; boxes in the pixels of the whole."""
    part = image[top : top + side, left : left + side]
    if part.size == 0:
        return []
    return [replace(b, x=b.x + left, y=b.y + top) for b in _detect(network, part)]


def _box(detection: Any, width: int, height: int) -> FaceBox:
    """From fractions of the picture, which do not change when it is shrunk, to pixel centres."""
    box = detection.location_data.relative_bounding_box
    right_eye, left_eye = detection.location_data.relative_keypoints[:2]
    angle = math.atan2((left_eye.y - right_eye.y) * height, (left_eye.x - right_eye.x) * width)
    return FaceBox(
        x=(box.xmin + box.width / 2) * width - 0.5,
        y=(box.ymin + box.height / 2) * height - 0.5,
        width=box.width * width,
        height=box.height * height,
        angle_deg=math.degrees(angle),
        score=float(detection.score[0]),
    )


def _starts(length: int, side: int) -> Iterator[int]:
    """First pixels of tiles that cover the length and overlap by half or more."""
    room = max(length - side, 0)
    steps = math.ceil(room / (side / 2))
    return (round(room * i / max(steps, 1)) for i in range(steps + 1))


def _distinct(boxes: list[FaceBox]) -> list[FaceBox]:
    """The box with the highest score of each face (tiles overlap, so a face can have several)."""
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda b: -b.score):
        if all(box.overlap(other) < SAME_FACE_OVERLAP for other in kept):
            kept.append(box)
    return kept
