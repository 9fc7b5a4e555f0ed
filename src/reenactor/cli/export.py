"""`reenactor export`: a model's networks as files for fast runtimes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.animate import add_weights, weights_folder
from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    from torch import Tensor

    from reenactor.engine.runtimes.export import Examples
    from reenactor.models import ReenactmentModel

_CALIBRATION, _COMPARED = 64, 16
"""Frames."""


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "export",
        help="write a model's networks for fast runtimes",
        description="Write a model's networks as ONNX or OpenVINO files and compare their pictures with PyTorch's.",
    )
    p.add_argument("model", metavar="MODEL", help="which model, or shape-encoder")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write; replaced if it exists")
    p.add_argument("--format", choices=("onnx", "openvino"), default="openvino", help="(default: %(default)s)")
    p.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp32",
        help="fp16: smaller files; bf16 (OpenVINO): faster where the processor can; int8 needs --data; "
        "(default: %(default)s)",
    )
    add_weights(p)
    p.add_argument(
        "--data",
        type=Path,
        metavar="PACK",
        help="prepared data: its train split calibrates int8, its validation split compares (without: a shipped photo)",
    )
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, and print how near it is."""
    from reenactor.engine.runtimes import Format, Precision, export_model
    from reenactor.engine.runtimes.shape_encoder import NAME, export_shape_encoder, read_shape_encoder
    from reenactor.engine.shipped import demo_examples
    from reenactor.models import create_model
    from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint

    if args.precision == "int8" and args.data is None:
        raise ReenactError("int8 needs frames to calibrate with; give a pack with --data")
    kind, precision = Format(args.format), Precision(args.precision)
    weights = weights_folder(args)
    if args.model == NAME:
        encoder, digest = read_shape_encoder(weights)
        faces = _faces(args.data, encoder.config.resolution, _CALIBRATION) if args.data else ()
        near = export_shape_encoder(encoder, args.out, kind=kind, precision=precision, checkpoint=digest, faces=faces)
    else:
        model = create_model(args.model, weights)
        weights = weights or shipped_checkpoint(args.model)
        near = export_model(
            model,
            args.out,
            kind=kind,
            precision=precision,
            checkpoint=read_checkpoint(weights).digest if weights else "",
            calibration=_of_pack(model, args.data, "train", _CALIBRATION) if precision is Precision.INT8 else (),
            examples=_of_pack(model, args.data, "val", _COMPARED)
            if _validates(args.data)
            else demo_examples(model, _COMPARED),
        )
    print(f"{args.model} as {kind.value}, {precision.value}: {args.out}")
    if near is not None:
        print(
            f"compared with PyTorch in fp32, range [-1, 1], {near.frames} frames: largest error {near.max_error:.2g}, "
            f"mean {near.mean_error:.2g}, PSNR {near.psnr:.1f} dB"
        )
    return 0


def _validates(pack: Path | None) -> bool:
    """Whether there is a pack with a validation split."""
    from reenactor.research.data import ShardReader, Split

    return pack is not None and Split.VAL.value in ShardReader(pack).index["split"].to_pylist()


def _of_pack(model: ReenactmentModel, folder: Path, split: str, count: int) -> Examples:
    """A photo, and the landmarks of another moment."""
    from reenactor.research.data import Split
    from reenactor.research.evaluation.packs import pairs_of_pack

    return ((pair.targets, pair.driver) for pair in islice(pairs_of_pack(model, folder, Split(split)), count))


def _faces(folder: Path, size: int, count: int) -> Iterator[Tensor]:
    """Face crops of a pack's train split."""
    import torch

    from reenactor.research.data import Split
    from reenactor.research.data.pair_stream import PairData, PairStream

    for pair in islice(PairStream(folder, PairData(size=size, targets=1), split=Split.TRAIN, seed=0), count):
        yield torch.as_tensor(pair["truth"]).float() / 127.5 - 1
