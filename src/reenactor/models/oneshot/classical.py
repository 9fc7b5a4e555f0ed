"""The classical warp of the target photo that fusion takes: the face mesh, and irises that follow the gaze."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from reenactor.core import MESH_POINTS
from reenactor.face.geometry import FaceMesh, draw_face_mesh, face_mesh
from reenactor.face.geometry.contours import LEFT_IRIS, RIGHT_IRIS
from reenactor.face.geometry.mesh_flow import FLAGS, mesh_flow, stretching_flow
from reenactor.models.contract import to_uint8
from reenactor.nn import warp, warp_cubic

WARPED_WIDTH = 3 + len(FLAGS)
"""Channels that `warped_m1p1` gives."""
_IRIS_REACH = 1.5
"""Half the side of the square in which an iris is moved, in radii: to the end of its soft edge."""


@dataclass(frozen=True)
class WarpedPhoto:
    """A photo that can be moved to other landmarks.

    Args:
        picture: (s, s, 3) the crop.
        surface: its triangulated surface.
        gaze: (s, s) in [0, 1], where the photo shows irises.
    """

    picture: UInt8[np.ndarray, "s s 3"]
    surface: FaceMesh
    gaze: Float[np.ndarray, "s s"]


def warped_photo(
    image_m1p1: Float[Tensor, "3 s s"], mesh_px: Float[np.ndarray, "478 3"], gaze: Float[Tensor, "s s"]
) -> WarpedPhoto:
    """Prepare a photo.

    Args:
        image_m1p1: the crop, RGB in [-1, 1].
        mesh_px: its landmarks, in pixels of the crop.
        gaze: the channel `gaze` of its parsing map.
    """
    picture = to_uint8(image_m1p1)
    return WarpedPhoto(picture, face_mesh(mesh_px, len(picture)), _numbers(gaze))


def draw_warped(
    photo: WarpedPhoto, mesh_px: Float[np.ndarray, "478 3"], gaze: Float[Tensor, "s s"]
) -> UInt8[np.ndarray, "s s 3"]:
    """The photo with its face at other landmarks; the inside of the mouth is stretched with the lips.

    Irises follow their own landmarks, and only what the photo shows of them is laid on the eyes.

    Args:
        photo: what `warped_photo` gave.
        mesh_px: target landmarks, in pixels of the crop.
        gaze: the channel `gaze` of the parsing map of these landmarks.
    """
    picture = draw_face_mesh(photo.picture, photo.surface, mesh_px)
    target_gaze = _numbers(gaze)
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        _move_iris(picture, photo, mesh_px[list(iris), :2], photo.surface.points[list(iris), :2], target_gaze)
    return picture


def warped_m1p1(
    photo: WarpedPhoto, mesh_px: Float[np.ndarray, "b 478 3"], gaze: Float[Tensor, "b s s"]
) -> Float[Tensor, "b 8 s s"]:
    """Fusion's input for each of B frames, on the device of `gaze`.

    The first 3 channels are `draw_warped`'s picture in [-1, 1]; the others say in [0, 1] where it cannot be trusted
    (`geometry.mesh_flow.FLAGS`), found at half the size.
    """
    frames = [draw_warped(photo, mesh, one) for mesh, one in zip(mesh_px, gaze, strict=True)]
    pictures = torch.from_numpy(np.stack(frames)).to(gaze).permute(0, 3, 1, 2) / 127.5 - 1
    seen, target = (torch.from_numpy(np.asarray(mesh)) for mesh in (photo.surface.points[:MESH_POINTS], mesh_px))
    side = len(photo.picture)
    flags = mesh_flow(seen.expand_as(target), target, side, side // 2).flags
    return torch.cat([pictures, F.interpolate(flags.to(gaze), scale_factor=2.0, mode="nearest")], dim=1)


@torch.no_grad()
def warped_photos_m1p1(
    images_m1p1: Float[Tensor, "b 3 s s"],
    photo_mesh_px: Float[Tensor, "b 478 3"],
    photo_gaze: Float[Tensor, "b s s"],
    mesh_px: Float[Tensor, "b 478 3"],
    gaze: Float[Tensor, "b s s"],
) -> Float[Tensor, "b 8 s s"]:
    """`warped_m1p1` of B photos, each at landmarks of its own; on a GPU all at once. For training.

    Args:
        images_m1p1, photo_mesh_px, photo_gaze: as `warped_photo` takes them.
        mesh_px, gaze: as for `warped_m1p1`.
    """
    inputs = images_m1p1, photo_mesh_px, photo_gaze, mesh_px, gaze
    if images_m1p1.is_cuda:
        return _warped_together(*inputs)
    # On a CPU one after another is 3 to 6 times as fast; MPS lacks float64.
    return torch.cat(
        [
            warped_m1p1(warped_photo(image, seen.cpu().numpy(), where), mesh[None].cpu().numpy(), target[None])
            for image, seen, where, mesh, target in zip(*inputs, strict=True)
        ]
    )


def _warped_together(
    images_m1p1: Float[Tensor, "b 3 s s"],
    photo_mesh_px: Float[Tensor, "b 478 3"],
    photo_gaze: Float[Tensor, "b s s"],
    mesh_px: Float[Tensor, "b 478 3"],
    gaze: Float[Tensor, "b s s"],
) -> Float[Tensor, "b 8 s s"]:
    """`warped_photos_m1p1` with PyTorch alone; nothing is rounded to 8 bits on the way."""
    side = images_m1p1.shape[-1]
    pictures = warp_cubic(images_m1p1, stretching_flow(photo_mesh_px, mesh_px, side)).clamp(-1, 1)
    shown = torch.cat([images_m1p1, photo_gaze[:, None]], dim=1)
    pixel = torch.arange(side, device=images_m1p1.device)
    pixel = torch.stack(torch.meshgrid(pixel, pixel, indexing="xy"))
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        (centre, radius), (seen_centre, seen_radius) = (
            _discs(mesh[:, list(iris), :2]) for mesh in (mesh_px, photo_mesh_px)
        )
        low, high = (centre - _IRIS_REACH * radius).floor(), (centre + _IRIS_REACH * radius).ceil()
        inside = ((pixel >= low) & (pixel <= high)).all(dim=1, keepdim=True)
        source = seen_centre + seen_radius / radius.clamp_min(1e-3) * (pixel - centre)
        moved, seen = warp(shown, (source - pixel) * (2 / side)).split([3, 1], dim=1)
        pictures = torch.lerp(pictures, moved, inside * seen * gaze[:, None])
    flags = mesh_flow(photo_mesh_px, mesh_px, side, side // 2).flags
    return torch.cat([pictures, F.interpolate(flags, scale_factor=2.0, mode="nearest")], dim=1)


def _discs(iris_px: Float[Tensor, "b 5 2"]) -> tuple[Float[Tensor, "b 2 1 1"], Float[Tensor, "b 1 1 1"]]:
    """`_disc` of each."""
    centre = iris_px[:, 1:].mean(dim=1, keepdim=True)
    radius = (iris_px[:, 1:] - centre).norm(dim=2).mean(dim=1)
    return centre.mT[..., None], radius[:, None, None, None]


def _numbers(values: Float[Tensor, "*s"]) -> Float[np.ndarray, "*s"]:
    """The values; zeros for those of the meta device, which has shapes alone (`models.sizes`)."""
    known = torch.zeros_like(values, device="cpu") if values.is_meta else values.detach().cpu()
    return known.float().numpy()


def _move_iris(
    picture: UInt8[np.ndarray, "s s 3"],
    photo: WarpedPhoto,
    target_px: Float[np.ndarray, "5 2"],
    seen_px: Float[np.ndarray, "5 2"],
    target_gaze: Float[np.ndarray, "s s"],
) -> None:
    """Lay one of the photo's irises, moved and scaled, on the picture."""
    (centre, radius), (seen_centre, seen_radius) = _disc(target_px), _disc(seen_px)
    low = np.clip(np.floor(centre - _IRIS_REACH * radius), 0, len(picture)).astype(int)
    high = np.clip(np.ceil(centre + _IRIS_REACH * radius) + 1, 0, len(picture)).astype(int)
    if (high <= low).any():
        return
    scale = seen_radius / max(radius, 1e-3)
    # From the square's pixels to the photo's.
    back = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    back[:, 2] = seen_centre + scale * (low - centre)
    size, flags = tuple((high - low).tolist()), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(photo.picture, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    square = slice(low[1], high[1]), slice(low[0], high[0])
    alpha = (cv2.warpAffine(photo.gaze, back, size, flags=flags) * target_gaze[square])[..., None]
    picture[square] = np.rint(picture[square] * (1 - alpha) + moved * alpha).astype(np.uint8)


def _disc(iris_px: Float[np.ndarray, "5 2"]) -> tuple[Float[np.ndarray, "2"], float]:
    """Centre and mean radius of an iris, from its border."""
    border = iris_px[1:].astype(np.float64)
    centre = border.mean(axis=0)
    return centre, float(np.linalg.norm(border - centre, axis=1).mean())
