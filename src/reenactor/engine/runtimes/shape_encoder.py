"""Paper A's shape encoder as a graph: face crops in, heatmaps and points out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor, nn

from reenactor.core import CheckpointError, Runtime
from reenactor.engine.runtimes.export import Parity, graph_runners, read_description, write_export
from reenactor.engine.runtimes.formats import Format
from reenactor.engine.runtimes.runtimes import Precision
from reenactor.models.graphs import Graph, simplified
from reenactor.models.oneshot import SHAPE_ENCODER, Shape, ShapeEncoder, ShapeEncoderConfig
from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint

NAME = "shape-encoder"
_GRAPH = "shape"


class _Shape(nn.Module):
    def __init__(self, encoder: ShapeEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Float[Tensor, "1 3 h w"]) -> tuple[Tensor, Tensor]:
        found = self.encoder(images)
        return found.heat_logits, found.points_px


class FastShapeEncoder:
    """As `ShapeEncoder`, in a fast runtime; made by `load_shape_encoder`."""

    def __init__(self, folder: str | os.PathLike[str], runtime: Runtime | str | None, threads: int | None) -> None:
        description = read_description(folder)
        if description["model"] != NAME:
            raise CheckpointError(f"{folder} holds '{description['model']}', not a shape encoder; give another folder")
        try:
            self.config = ShapeEncoderConfig.model_validate(description["config"])
        except ValidationError as error:
            raise CheckpointError(f"{folder} has settings of another release; export again") from error
        self._runner = graph_runners(folder, description, (_GRAPH,), runtime=runtime, threads=threads)[0][_GRAPH]

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Shape:
        """(B, 3, 128, 128) face crops in [-1, 1]; other sides only if the encoder was trained so."""
        found = [self._runner({"images": one[None].contiguous()}) for one in images]
        return Shape(*(torch.cat([one[name] for one in found]) for name in ("heat_logits", "points_px")))


def load_shape_encoder(
    folder: str | os.PathLike[str], *, runtime: Runtime | str | None = None, threads: int | None = None
) -> FastShapeEncoder:
    """The shape encoder in a folder that `export_shape_encoder` wrote; arguments as for `load_exported`."""
    return FastShapeEncoder(folder, runtime, threads)


def read_shape_encoder(weights: str | os.PathLike[str] | None) -> tuple[ShapeEncoder, str]:
    """The encoder of a checkpoint, in evaluation mode, and the checkpoint's digest.

    Args:
        weights: the checkpoint's folder; None for the weights that ship.

    Raises:
        CheckpointError: the folder holds something else.
    """
    weights = weights or shipped_checkpoint(NAME)
    if weights is None:
        raise CheckpointError("no weights of the shape encoder ship with this release; give its folder with --weights")
    checkpoint = read_checkpoint(weights)
    if checkpoint.kind != SHAPE_ENCODER:
        raise CheckpointError(f"{weights} holds weights of '{checkpoint.kind}', not of a shape encoder; give others")
    try:
        encoder = ShapeEncoder(ShapeEncoderConfig.model_validate(checkpoint.config))
        encoder.load_state_dict(dict(checkpoint.tensors))
    except (ValidationError, RuntimeError) as error:
        raise CheckpointError(f"the weights in {weights} are of another release; train again") from error
    return encoder.eval(), checkpoint.digest


def export_shape_encoder(
    encoder: ShapeEncoder,
    out: str | os.PathLike[str],
    *,
    kind: Format = Format.OPENVINO,
    precision: Precision = Precision.FP32,
    checkpoint: str = "",
    faces: Iterable[Float[Tensor, "3 h w"]] = (),
) -> Parity:
    """Write the folder, whole or not at all; the graph takes one face of the size that the encoder was trained at.

    Args:
        encoder: with its weights.
        out: the folder.
        kind, precision: of the graph.
        checkpoint: digest of the weights' checkpoint.
        faces: crops in [-1, 1], to calibrate int8 with and to compare with PyTorch; without any, noise is compared.

    Returns:
        How near its heatmaps are, which lie in (0, 1); the PSNR is for that range.
    """
    size = encoder.config.resolution
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    crops = [one[None] for one in faces]
    graph = Graph(_Shape(simplified(encoder)), {"images": noise}, ("heat_logits", "points_px"))

    def compared(folder: Path) -> Parity:
        fast = load_shape_encoder(folder)
        images = torch.cat(crops or [noise])
        with torch.inference_mode():
            error = (encoder(images).heatmaps - fast(images).heatmaps).abs().double()
        psnr = -10 * float(np.log10(max(float(error.square().mean()), 1e-20)))
        return Parity(len(images), float(error.max()), float(error.mean()), psnr)

    feed = (lambda: [{"images": one} for one in crops]) if crops else None
    description = {"model": NAME, "model_version": "", "checkpoint": checkpoint}
    config = encoder.config.model_dump(mode="json")
    near = write_export(Path(out), {_GRAPH: graph}, description, config, kind, precision, feed, compared)
    assert near is not None
    return near
