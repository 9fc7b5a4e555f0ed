"""How near exported models are to PyTorch, on pairs of a pack's validation clips; calibrated on its train split.

python tools/measure_exports.py hybrid --data pack [--weights folder] [--fresh] [--frames 64] [--only onnx-int8]

* largest and mean error of pictures in [-1, 1], and PSNR of all frames, beside PyTorch in fp32.
* the pictures against the truth, mean over frames, and in brackets the difference from PyTorch's in %: PSNR, SSIM,
  M-PSNR (inside the hull of the 68 landmarks), CSIM (dlib's embeddings less their mean over people).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reenactor.core import DriverFrame, Landmarks, MapKind, TargetSet
from reenactor.engine.runtimes import Format, Precision, export_model, load_exported
from reenactor.face.maps import draw_maps
from reenactor.face.perception.identity import IdentityEmbedder, identity_mean
from reenactor.models import METHODS, ReenactmentModel, create_model
from reenactor.research.data import Split
from reenactor.research.data.pairs import PairKind
from reenactor.research.evaluation.packs import PackPair, pairs_of_pack
from reenactor.research.metrics import csim, psnr, ssim

WAYS = {
    f"{kind.value}-{precision.value}": (kind, precision)
    for kind in Format
    for precision in Precision
    if (kind, precision) != (Format.ONNX, Precision.BF16)
}
CALIBRATION = 64
"""Frames, as `reenactor export` takes."""
APART = 4
"""Of the stream's pairs every fourth: those of one clip resemble each other."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="hybrid, marionette or oneshot")
    parser.add_argument("--data", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--weights", type=Path, help="folder of a checkpoint; default: those that ship")
    parser.add_argument("--fresh", action="store_true", help="untrained, of the size 'lite'")
    parser.add_argument("--frames", type=int, default=64, help="compared (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=WAYS, help="repeat it for more; default: all")
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.fresh:
        kind = METHODS[args.model].model
        # The hybrid's defaults are small.
        config = getattr(kind.config_type, "lite", kind.config_type)()
        model = kind(config).eval()  # pyright: ignore[reportCallIssue]
    else:
        model = create_model(args.model, args.weights)
    # Two moments of a clip each.
    seen, known = (pairs_of_pack(model, args.data, one, mix={PairKind.CLIP: 1.0}) for one in (Split.VAL, Split.TRAIN))
    pairs = list(islice(seen, 0, APART * args.frames, APART))
    calibration = [(pair.targets, pair.driver) for pair in islice(known, CALIBRATION)]
    judge = Judge(pairs)
    plain = pictures(model, pairs)
    whole = judge(plain)
    print(f"{args.model}, {len(pairs)} frames of {plain.shape[-1]} pixels\n")
    print(f"| export | max error | mean error | PSNR to PyTorch, dB | {' | '.join(whole)} |\n|---|{'---:|' * 7}")
    print(f"| PyTorch fp32 | | | | {' | '.join(f'{value:.4g}' for value in whole.values())} |", flush=True)
    for way in args.only or WAYS:
        drawn = pictures(exported(model, *WAYS[way], calibration), pairs)
        error = (drawn - plain).abs().double()
        near = 10 * np.log10(4 / max(float(error.square().mean()), 1e-20))
        scores = [f"{value:.4g} ({100 * (value / whole[name] - 1):+.3f} %)" for name, value in judge(drawn).items()]
        largest, mean = float(error.max()), float(error.mean())
        print(f"| {way} | {largest:.1e} | {mean:.1e} | {near:.1f} | {' | '.join(scores)} |", flush=True)


def exported(
    model: ReenactmentModel, kind: Format, precision: Precision, calibration: Sequence[tuple[TargetSet, DriverFrame]]
) -> ReenactmentModel:
    """There and back through a folder."""
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "export", kind=kind, precision=precision, calibration=calibration)
        return load_exported(Path(folder) / "export")


@torch.inference_mode()
def pictures(model: ReenactmentModel, pairs: Sequence[PackPair]) -> Tensor:
    """(N, 3, s, s), each drawn from its own photo."""
    return torch.cat([model.synthesize(model.encode_target(pair.targets), pair.driver) for pair in pairs])


class Judge:
    """Pictures of the pairs against the truth: name -> mean over frames."""

    def __init__(self, pairs: Sequence[PackPair]) -> None:
        self._truth = torch.cat([pair.truth for pair in pairs])
        self._meshes = np.concatenate([pair.driver.mesh_px for pair in pairs])
        size = self._truth.shape[-1]
        kind = MapKind.HULL_MASK
        self._face = draw_maps((kind,), torch.from_numpy(self._meshes), size)[kind]
        self._embedder = IdentityEmbedder()
        photos = torch.cat([pair.targets.images[:1] for pair in pairs])
        self._people = self._embed(photos, np.concatenate([pair.targets.mesh_px[:1] for pair in pairs]))

    def __call__(self, drawn: Tensor) -> dict[str, float]:
        """Of (N, 3, s, s)."""
        found = csim(self._embed(drawn, self._meshes), self._people, identity_mean())
        a, b = (images.permute(0, 2, 3, 1).numpy() for images in (drawn, self._truth))
        frames, masks = range(len(a)), self._face[:, 0].numpy()
        return {
            "PSNR": float(np.mean([psnr(a[i], b[i]) for i in frames])),
            "SSIM": float(np.mean([ssim(a[i], b[i]) for i in frames])),
            "M-PSNR": float(np.mean([psnr(a[i], b[i], masks[i]) for i in frames])),
            "CSIM": float(found.mean()),
        }

    def _embed(self, images: Tensor, meshes: np.ndarray) -> np.ndarray:
        """Where the face is, is known: what was asked for."""
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        return self._embedder.embed_batch(list(pixels), [Landmarks(mesh) for mesh in meshes])


if __name__ == "__main__":
    main()
