"""Identity embeddings: 128 numbers, close for photos of one person (dlib's face recognition ResNet, in PyTorch).

The network sees a *chip*, the face cut out and aligned. Its author measured 99.38% of pairs judged right on
Labeled Faces in the Wild (http://dlib.net/dnn_face_recognition_ex.cpp.html). It is used to measure, never as a loss:
in 40 gradient steps pixels can be pushed to any identity, so weights that ship are trained without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from reenactor.core import Landmarks
from reenactor.face.geometry import fit_similarity
from reenactor.face.perception.dlib_weights import (
    Affine,
    Convolution,
    DlibFaceNetwork,
    FullyConnected,
    load_face_network,
)
from reenactor.face.perception.observe import check_picture

EMBEDDING_SIZE = 128

SAME_PERSON_DISTANCE = 0.6
"""Euclidean distance of embeddings below which two photos show one person: what training aimed at."""

CHIP_PX = 150
CHIP_PADDING = 0.25
"""Border on each side, in units of the face square: the network was trained with it."""

ALIGNED_IBUG68: tuple[int, ...] = (*range(27, 36), *range(36, 48), *range(48, 55), *range(60, 65))
"""iBUG-68 landmarks that a chip is aligned by: nose, eyes, upper edges of the outer and the inner lip. dlib leaves out
jaw, brows and lower lip, which move too much with expression."""

# From `get_face_chip_details` in dlib/image_transforms/interpolation.h: averages over many faces, in a square in which
# the face (brows to lower lip, without the jaw) spans about 0..1.
_MEAN_FACE = (
    # nose 27-35
    *((0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625), (0.366880, 0.587326)),
    *((0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345), (0.613373, 0.587326)),
    # eyes 36-41 (image left), 42-47 (image right)
    *((0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852), (0.334606, 0.231733), (0.260918, 0.245099)),
    *((0.182743, 0.244077), (0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758), (0.858516, 0.216423)),
    *((0.797510, 0.244077), (0.719335, 0.245099)),
    # outer lip 48-54, inner lip 60-64
    *((0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388), (0.490127, 0.742578), (0.551395, 0.727388)),
    *((0.639268, 0.745405), (0.726104, 0.780233), (0.290379, 0.784792), (0.428096, 0.778746), (0.490127, 0.785343)),
    *((0.552157, 0.778746), (0.689874, 0.784792)),
)
ALIGNED_POINTS_PX = (np.array(_MEAN_FACE) + CHIP_PADDING) / (2 * CHIP_PADDING + 1) * CHIP_PX
"""(33, 2) position of each of `ALIGNED_IBUG68` in the chip, pixels."""

# (channels, halves the resolution) of each residual block.
_BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True), (64, False), (64, False), (64, False)],
    *[(128, True), (128, False), (128, False)],
    *[(256, True), (256, False), (256, False), (256, True)],
)


class IdentityNetwork(nn.Module):
    """dlib's ResNet-29: a stem, 14 residual blocks, the mean over the picture, a matrix.

    dlib's frozen batch normalizations are folded into the convolutions before them.
    """

    mean_rgb: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        channels = [32, *(out for out, _ in _BLOCKS)]
        self.blocks = nn.Sequential(
            *(_ResidualBlock(c, out, halve) for c, (out, halve) in zip(channels, _BLOCKS, strict=False))
        )
        self.head = nn.Linear(256, EMBEDDING_SIZE, bias=False)
        self.register_buffer("mean_rgb", torch.zeros(1, 3, 1, 1))

    def forward(self, chips_m1p1: Float[Tensor, "b 3 150 150"]) -> Float[Tensor, "b 128"]:
        """Embed aligned chips; differentiable.

        Args:
            chips_m1p1: (B, 3, 150, 150) RGB in [-1, 1], cut out as `face_chip` does.

        Returns:
            (B, 128) embeddings, not of unit length; see `identity_distance`.
        """
        x = ((chips_m1p1 + 1) * 127.5 - self.mean_rgb) / 256
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        return self.head(self.blocks(x).mean(dim=(2, 3)))

    @classmethod
    def from_dlib(cls, source: DlibFaceNetwork) -> IdentityNetwork:
        """Take over dlib's weights; frozen, in evaluation mode."""
        network = cls()
        network.mean_rgb.copy_(torch.tensor(source.mean_rgb).reshape(1, 3, 1, 1))
        convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        pairs = [pair for pair in pairwise(source.layers) if isinstance(pair[0], Convolution)]
        with torch.no_grad():
            for module, (convolution, affine) in zip(convolutions, pairs, strict=True):
                assert isinstance(convolution, Convolution)
                assert isinstance(affine, Affine)
                assert module.bias is not None
                weight, bias = _fold(convolution, affine)
                module.weight.copy_(torch.from_numpy(weight))
                module.bias.copy_(torch.from_numpy(bias))
            (head,) = (layer for layer in source.layers if isinstance(layer, FullyConnected))
            network.head.weight.copy_(torch.from_numpy(head.weight.copy()))
        return network.eval().requires_grad_(False)


class _ResidualBlock(nn.Module):
    """relu(shortcut(x) + conv(relu(conv(x)))); where it halves, the shortcut is a 2x2 average."""

    def __init__(self, channels_in: int, channels_out: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        # dlib's halving convolution has no padding.
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c_out h_out w_out"]:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.halve:
            x, y = _pad_equal(F.avg_pool2d(x, 2), y)
        return F.relu(x + y)


def _pad_equal(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros at the right, the bottom and after the last channel until shapes agree (dlib's `add_prev`).

    Without padding an odd convolution gives one row less than the average: 3 against 4, then 1 against 2.
    """
    shape = [max(sizes) for sizes in zip(x.shape[1:], y.shape[1:], strict=True)]

    def pad(t: Tensor) -> Tensor:
        c, h, w = (target - size for target, size in zip(shape, t.shape[1:], strict=True))
        return F.pad(t, (0, w, 0, h, 0, c))

    return pad(x), pad(y)


def _fold(
    convolution: Convolution, affine: Affine
) -> tuple[Float32[np.ndarray, "out in size size"], Float32[np.ndarray, " out"]]:
    """gamma (W x + b) + beta = (gamma W) x + (gamma b + beta), in double precision."""
    gamma, beta = affine.gamma.astype(np.float64), affine.beta.astype(np.float64)
    weight = convolution.weight * gamma[:, None, None, None]
    return weight.astype(np.float32), (convolution.bias * gamma + beta).astype(np.float32)


def face_chip(image: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks) -> UInt8[np.ndarray, "150 150 3"]:
    """Cut out and align a face as dlib's `get_face_chip_details(shape, 150, 0.25)` + `extract_image_chip` do.

    Args:
        image: (H, W, 3) RGB.
        landmarks: of one face, in its pixels.

    Returns:
        (150, 150, 3) RGB; black beyond the picture.

    Raises:
        ValueError: not an (H, W, 3) uint8 picture.
    """
    check_picture(image)
    fit = fit_similarity(ALIGNED_POINTS_PX, landmarks.ibug68[list(ALIGNED_IBUG68), :2])
    # dlib keeps the centre (75, 75) and the size of the fitted square, then samples it from the centre of its
    # first pixel to that of its last: half a pixel off the plain fit. The network was trained on that.
    middle = fit.apply(np.full((1, 2), CHIP_PX / 2))[0]
    step = fit.R * (CHIP_PX * fit.scale - 1) / (CHIP_PX - 1)
    matrix = np.column_stack([step, middle - step @ np.full(2, (CHIP_PX - 1) / 2)])
    image = np.ascontiguousarray(image)
    # Beyond 2 image pixels a chip pixel, bilinear sampling would skip some; so, like dlib, halve the picture
    # first. `pyrDown` has dlib's filter, (1, 4, 6, 4, 1) / 16; its pixel i lies at 2 i.
    while np.hypot(*matrix[:, 0]) > 2:
        image = np.asarray(cv2.pyrDown(image), dtype=np.uint8)
        matrix /= 2
    chip = cv2.warpAffine(image, matrix, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(chip, dtype=np.uint8)


class IdentityEmbedder:
    """Embeds faces; holds the network, so make one and keep it (loading takes a tenth of a second).

    Args:
        device: where the network runs.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        network = IdentityNetwork.from_dlib(load_face_network())
        # Colour last, as the chips come: 1.2 to 1.35 times as fast on a CPU. (torch's stub lacks this.)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def embed(self, image: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks) -> Float32[np.ndarray, "size=128"]:
        """Embedding (128,) of one face in an (H, W, 3) RGB picture; `landmarks` in its pixels."""
        return self.embed_chips(face_chip(image, landmarks)[None])[0]

    def embed_batch(
        self,
        images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        landmarks: Sequence[Landmarks],
        *,
        batch_size: int = 16,
    ) -> Float32[np.ndarray, "n 128"]:
        """Embeddings (N, 128) of one face in each of N pictures of any sizes; twice as fast as N calls to `embed`."""
        chips = [face_chip(image, points) for image, points in zip(images, landmarks, strict=True)]
        return self.embed_chips(np.array(chips, np.uint8).reshape(-1, CHIP_PX, CHIP_PX, 3), batch_size=batch_size)

    def embed_chips(
        self, chips: UInt8[np.ndarray, "n 150 150 3"], *, batch_size: int = 16
    ) -> Float32[np.ndarray, "n 128"]:
        """Embeddings (N, 128) of chips from `face_chip`."""
        device = self.network.mean_rgb.device
        embeddings = np.empty((len(chips), EMBEDDING_SIZE), np.float32)
        with torch.inference_mode():
            for start in range(0, len(chips), batch_size):
                part = torch.from_numpy(np.array(chips[start : start + batch_size], order="C")).to(device)
                chips_m1p1 = part.permute(0, 3, 1, 2).float() / 127.5 - 1
                embeddings[start : start + batch_size] = self.network(chips_m1p1).cpu().numpy()
        return embeddings


def identity_distance(a: Float[np.ndarray, "*#n 128"], b: Float[np.ndarray, "*#n 128"]) -> Float[np.ndarray, "*n"]:
    """Euclidean distance (...) of embeddings (..., 128), broadcasting; below `SAME_PERSON_DISTANCE` for one person."""
    return np.asarray(np.linalg.norm(a - b, axis=-1))


@cache
def identity_mean() -> Float32[np.ndarray, "size=128"]:
    """(128,) mean embedding over people, read-only; made by `tools/build_identity_mean.py`.

    All embeddings have a large part in common: the cosine is 0.84 between people and 0.98 between photos of one
    person. After subtracting the mean it is 0.00 +- 0.17 and 0.91 +- 0.07, on the portraits of the data pack.
    """
    file = resources.files("reenactor") / "assets" / "identity_mean.npy"
    with file.open("rb") as stream:
        mean = np.load(stream, allow_pickle=False)
    mean.setflags(write=False)
    return mean
