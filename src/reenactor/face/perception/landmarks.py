"""The face mesh: 478 landmarks of the one face inside a square region of a picture.

MediaPipe's network (`face_landmark_with_attention`, 192 x 192 pixels in) runs on a patch that is cut here, not by
MediaPipe's own tracking graph. So we choose the region: faces of any size, no detector in the loop, nothing to reset
after a scene cut, and we get the presence score that MediaPipe's API does not return.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import MESH_POINTS, OUTER_EYE_CORNERS
from reenactor.face.perception._native import quiet_stderr, solutions
from reenactor.face.perception.detection import FaceBox
from reenactor.face.perception.lids import eye_openness, with_lids

PATCH_PX = 192
REGION_PER_FACE = 1.5
"""Side of the square the network looks at, per longer side of the face's box (MediaPipe's own value)."""
NETWORK_BIAS_PX = 0.35
"""Offset of the network's landmarks to the right and down, in patch pixels: half the shift between a mesh and its
mirrored picture's, over 299 portraits (standard error 0.01). Downward it cannot be measured and is assumed equal."""
SCORE_STREAM = "facelandmarkcpu__face_presence_score"
GRAPH = f"""
    input_stream: "image"
    input_stream: "region"
    input_side_packet: "with_attention"
    output_stream: "landmarks"
    output_stream: "{SCORE_STREAM}"
    node {{
        calculator: "FaceLandmarkCpu"
        input_stream: "IMAGE:image"
        input_stream: "ROI:region"
        input_side_packet: "WITH_ATTENTION:with_attention"
        output_stream: "LANDMARKS:landmarks"
    }}
"""
WIRE_TAGS = {"item": 0x0A, "length": 15, "x_tag": 0x0D, "y_tag": 0x15, "z_tag": 0x1D}
"""Protobuf's encoding of one landmark: field 1 of 15 bytes, in it the 32-bit fields 1, 2, 3."""
WIRE = np.dtype("u1, u1, u1, <f4, u1, <f4, u1, <f4")
WIRE.names = ("item", "length", "x_tag", "x", "y_tag", "y", "z_tag", "z")


@dataclass(frozen=True)
class Region:
    """A square of a picture, possibly turned.

    Args:
        x, y: centre, pixels.
        side_px: length of a side.
        angle_deg: clockwise.
    """

    x: float
    y: float
    side_px: float
    angle_deg: float

    @staticmethod
    def of_box(box: FaceBox) -> Region:
        """Region to run the mesh network on for a detected face."""
        return Region(box.x, box.y, REGION_PER_FACE * max(box.width, box.height), box.angle_deg)

    @staticmethod
    def of_mesh(mesh: Float[np.ndarray, "478 3"]) -> Region:
        """Region for the next run, from a mesh (478, 3) in pixels: upright to the eyes, around the mesh's box."""
        right, left = mesh[list(OUTER_EYE_CORNERS), :2]
        angle = math.atan2(left[1] - right[1], left[0] - right[0])
        turn = _turn(angle)
        upright = mesh[:, :2] @ turn
        low, high = upright.min(axis=0), upright.max(axis=0)
        x, y = turn @ ((low + high) / 2)
        return Region(float(x), float(y), REGION_PER_FACE * float((high - low).max()), math.degrees(angle))

    def to_picture(self) -> Float[np.ndarray, "2 3"]:
        """Affine map from patch pixels to picture pixels, both counted from pixel centres."""
        A = _turn(math.radians(self.angle_deg)) * (self.side_px / PATCH_PX)
        middle = (PATCH_PX - 1) / 2
        t = np.array([self.x, self.y]) - A @ [middle, middle]
        return np.concatenate([A, t[:, None]], axis=1)


class FaceMesher:
    """Runs the mesh network. Holds native state: use one instance per thread, and close it."""

    def __init__(self) -> None:
        solutions()
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python.solution_base import SolutionBase

        rect: Any = rect_pb2  # its classes are made at run time
        self._whole = rect.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0)
        with quiet_stderr():
            self._network: Any = SolutionBase(
                graph_config=GRAPH,
                side_inputs={"with_attention": True},
                outputs=["landmarks", SCORE_STREAM],
                # The caller checks the score; without this there are no landmarks below 0.5.
                calculator_params={"facelandmarkcpu__ThresholdingCalculator.threshold": 0.0},
            )
            self._run(np.zeros((PATCH_PX, PATCH_PX, 3), dtype=np.uint8))

    def mesh(self, image: UInt8[np.ndarray, "h w 3"], region: Region) -> tuple[Float[np.ndarray, "478 3"], float]:
        """The mesh (478, 3) float32 in the picture's pixels, and the network's confidence in a face, 0..1.

        Lids are closed where the eyes are (`lids`).
        """
        patch, mesh, score = self._read(image, region)
        return _in_picture(with_lids(mesh, eye_openness(patch, mesh)), region), score

    def settled_mesh(
        self, image: UInt8[np.ndarray, "h w 3"], region: Region, *, runs: int = 2
    ) -> tuple[Float[np.ndarray, "478 3"], float]:
        """`mesh` near a region, from several runs: each one's mesh centres the region of the next."""
        for _ in range(runs - 1):
            _, mesh, _ = self._read(image, region)
            region = Region.of_mesh(_in_picture(mesh, region))
        return self.mesh(image, region)

    def _read(
        self, image: UInt8[np.ndarray, "h w 3"], region: Region
    ) -> tuple[UInt8[np.ndarray, "192 192 3"], Float[np.ndarray, "478 3"], float]:
        """The region's patch, the network's mesh in it, and its confidence."""
        patch = cut_patch(image, region)
        mesh, score = self._run(patch)
        mesh[:, :2] -= NETWORK_BIAS_PX
        return patch, mesh, score

    def _run(self, patch: UInt8[np.ndarray, "192 192 3"]) -> tuple[Float[np.ndarray, "478 3"], float]:
        answer = self._network.process({"image": patch, "region": self._whole})
        return _points(answer.landmarks) * PATCH_PX, float(getattr(answer, SCORE_STREAM))

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def _in_picture(mesh: Float[np.ndarray, "478 3"], region: Region) -> Float[np.ndarray, "478 3"]:
    """A mesh in the patch's pixels, in those of the picture that the region lies in."""
    M = region.to_picture()
    xy = mesh[:, :2] @ M[:, :2].T + M[:, 2]
    # MediaPipe's z is a fraction of the width like x, so it is scaled like x.
    z = mesh[:, 2:] * (region.side_px / PATCH_PX)
    return np.concatenate([xy, z], axis=1).astype(np.float32)


def in_patch(mesh: Float[np.ndarray, "478 3"], region: Region) -> Float[np.ndarray, "478 3"]:
    """A mesh in the picture's pixels, in those of the region's patch."""
    M = region.to_picture()
    xy = (mesh[:, :2] - M[:, 2]) @ np.linalg.inv(M[:, :2]).T
    return np.concatenate([xy, mesh[:, 2:] * (PATCH_PX / region.side_px)], axis=1).astype(np.float32)


def cut_patch(image: UInt8[np.ndarray, "h w 3"], region: Region) -> UInt8[np.ndarray, "192 192 3"]:
    """The network's input for a region, RGB; the picture's edge is repeated outward."""
    M = region.to_picture()
    shrink = int(region.side_px / PATCH_PX)
    if shrink > 1:  # bilinear sampling skips pixels beyond a step of 2: average whole blocks first
        image, M = _shrunk(image, M, shrink)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, M, (PATCH_PX, PATCH_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _shrunk(
    image: UInt8[np.ndarray, "h w 3"], M: Float[np.ndarray, "2 3"], k: int
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Float[np.ndarray, "2 3"]]:
    """The part of the picture that the patch needs, averaged over k x k pixels, and the affine map into it."""
    corners = np.array([[0, 0, 1], [PATCH_PX, 0, 1], [0, PATCH_PX, 1], [PATCH_PX, PATCH_PX, 1]]) @ M.T
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - k, 0, [max(width - k, 0), max(height - k, 0)])
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + k
    part = image[y0 : max(y1, y0 + k), x0 : max(x1, x0 + k)]
    blocks = (part.shape[1] // k, part.shape[0] // k)
    if 0 in blocks:
        return image, M
    part = part[: blocks[1] * k, : blocks[0] * k]
    offset = np.array([x0, y0]) + (k - 1) / 2
    moved = np.concatenate([M[:, :2] / k, ((M[:, 2] - offset) / k)[:, None]], axis=1)
    return cv2.resize(part, blocks, interpolation=cv2.INTER_AREA), moved


def _points(landmarks: Any) -> Float[np.ndarray, "478 3"]:
    """A protobuf landmark list as an array.

    Reading 478 messages in Python takes 0.4 ms, a seventh of the network's time; their bytes have fixed positions.
    """
    raw = landmarks.SerializeToString()
    if len(raw) == MESH_POINTS * WIRE.itemsize:
        wire = np.frombuffer(raw, dtype=WIRE)
        if all((wire[tag] == value).all() for tag, value in WIRE_TAGS.items()):
            return np.stack([wire["x"], wire["y"], wire["z"]], axis=1).astype(np.float64)
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark])


def _turn(angle_rad: float) -> Float[np.ndarray, "2 2"]:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s], [s, c]])
