"""How well a shape encoder sees, on the validation pictures of a pack, and how fast it is.

python tools/measure_shape_encoder.py --data pack [--weights folder] [--size 128]

* points: mean distance of the boundaries' points to MediaPipe's, in % of the distance of the outer eye corners.
* parsing map from the picture against the one from the landmarks, part by part: intersection over union of the two
  (soft: sums of the smaller and the larger values), and the mean absolute difference.
* the same with pictures made hard to read as in training (turned, occluded, dark, blurred, coarse).
* milliseconds a face, one thread: PyTorch, and OpenVINO if it is installed (`pip install 'reenactor[export]'`).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reenactor.core.landmarks import OUTER_EYE_CORNERS
from reenactor.face.maps import PARSING_CHANNELS, parsing_map
from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.models.oneshot.shape_encoder import shape_features
from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.items import Kind
from reenactor.research.data.streams import rows_of

FRAMES_A_CLIP = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--weights", type=Path, help="a trained shape encoder; default: the one that ships")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = args.weights or shipped_checkpoint("shape-encoder")
    assert folder is not None
    network = shape_features(read_checkpoint(folder)).network
    assert network.config is not None
    measured: dict[str, dict[str, list[Tensor]]] = {kind.value: defaultdict(list) for kind in Kind}
    measured["changed"] = defaultdict(list)
    for kind, images, meshes in batches(ShardReader(args.data), args.size):
        measure(network, images, meshes, measured[kind])
        measure(network, *augmented(images, meshes, Augmentation.strong()), measured["changed"])
    print(f"| | {' | '.join(measured)} |\n|---|{'---:|' * len(measured)}")
    print(f"| pictures | {' | '.join(str(len(torch.cat(part['points']))) for part in measured.values())} |")
    for name in measured["changed"]:
        means = [float(torch.cat(part[name]).nanmean()) for part in measured.values()]
        print(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    face = torch.zeros(1, 3, args.size, args.size)
    ways: dict[str, Callable[[], object]] = {"PyTorch": lambda: network(face)}
    if find_spec("openvino"):
        ways |= {f"OpenVINO {precision}": in_openvino(network, face, precision) for precision in ("f32", "bf16")}
    for name, draw in ways.items():
        print(f"{name}: {milliseconds(draw):.1f} ms a face of {args.size} pixels, one thread")


def batches(reader: ShardReader, size: int):
    """(kind, pictures, landmarks) of all validation photos, and of frames spread over each validation clip."""
    for kind in Kind:
        for row in rows_of(reader, kind, Split.VAL).tolist():
            sample = reader[row]
            seen = np.flatnonzero(sample.seen)
            seen = seen[np.unique(np.linspace(0, len(seen) - 1, min(FRAMES_A_CLIP, len(seen))).astype(int))]
            pictures = torch.from_numpy(sample.frames(seen.tolist(), size=size)).permute(0, 3, 1, 2)
            meshes = torch.from_numpy(sample.landmarks_at(size)[seen].astype(np.float32))
            yield kind.value, pictures / 127.5 - 1, meshes


@torch.inference_mode()
def measure(network: torch.nn.Module, images: Tensor, meshes: Tensor, into: dict[str, list[Tensor]]) -> None:
    size = images.shape[-1]
    found = network(images).mesh_px
    drawn = found.abs().sum(-1) > 0
    right, left = (meshes[:, corner, :2] for corner in OUTER_EYE_CORNERS)
    eyes = (left - right).norm(dim=-1)
    off = (found - meshes[..., :2]).norm(dim=-1)
    into["points"].append(100 * (off * drawn).sum(1) / drawn.sum(1) / eyes)
    ours, theirs = parsing_map(found, size), parsing_map(meshes, size)
    both, either = (pick(ours, theirs).sum((2, 3)) for pick in (torch.minimum, torch.maximum))
    # A part of less than a pixel (closed eyes, closed lips) has no shape to agree on.
    overlap = torch.where(theirs.sum((2, 3)) >= 4, both / either, torch.nan)
    for name, one in zip(PARSING_CHANNELS, overlap.T, strict=True):
        into[f"overlap of {name}"].append(100 * one)
    into["parsing map, difference"].append(100 * (ours - theirs).abs().mean((1, 2, 3)))


class _Tensors(torch.nn.Module):
    """The network's result as a tuple, which tracing understands."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network(face)
        return found.heat_logits, found.points_px


def in_openvino(network: torch.nn.Module, face: Tensor, precision: str) -> Callable[[], object]:
    import openvino

    how = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(openvino.convert_model(_Tensors(network), example_input=face), "CPU", how)
    request = compiled.create_infer_request()
    return lambda: request.infer([face.numpy()])


@torch.inference_mode()
def milliseconds(draw: Callable[[], object]) -> float:
    times = []
    for _ in range(110):
        start = time.perf_counter()
        draw()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times[10:]))


if __name__ == "__main__":
    main()
