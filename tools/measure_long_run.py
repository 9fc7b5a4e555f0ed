"""How far the long run has come: weights of the hybrid against the mesh warp, on a pack's validation clips.

python tools/measure_long_run.py --data pack [--weights folder ...] [--pairs 256] [--sheet sheet.png]

Kernel distances and paired distances of EfficientNet-Lite2, sharpness of the face against the truth's, PSNR; the sheet
shows photo, warp, each of the weights and the truth, of the pairs in which the mouth opens first.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from reenactor.core import MapKind, PairBatch
from reenactor.face.geometry import in_mean_pose
from reenactor.face.retarget.relative import lip_gap
from reenactor.media import write_image
from reenactor.models.hybrid.discriminator import part_crops
from reenactor.models.hybrid.model import HybridConfig, HybridGenerator
from reenactor.models.hybrid.objective import HybridObjective, _parts, _trained, drawn_pair
from reenactor.nn import resized
from reenactor.nn.checkpoint import shipped_checkpoint
from reenactor.nn.losses import psnr_of_each
from reenactor.nn.losses.efficientnet import feature_distance
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind
from reenactor.research.metrics.pictures import sharpness
from reenactor.research.metrics.realism import judge, kernel_distance, part_features, stage_slices
from reenactor.research.training.batches import Batches, people_of

_BATCH = 8
_OPENS = 0.06
"""A mouth opens if the driver's is wider open by so much, in outer-eye distances."""
_ROWS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--weights", type=Path, nargs="+", default=[shipped_checkpoint("hybrid")])
    parser.add_argument("--pairs", type=int, default=256, help="of clips (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, help="a picture to look at")
    args = parser.parse_args()
    generators = {}
    for folder in args.weights:
        generator = HybridGenerator(HybridConfig())
        generator.load_state_dict(_trained(folder, HybridConfig()))
        generators[str(folder)] = generator.eval()
    batches = Batches(HybridObjective.maps, people_of(ShardReader(args.data)), torch.device("cpu"))
    settings = PairData(size=256, targets=1, mix={PairKind.CLIP: 1.0})
    pairs = iter(PairStream(args.data, settings, split=Split.VAL, seed=5))
    values: dict[str, dict[str, list]] = {}
    rows, opens = [], []
    for _ in range(args.pairs // _BATCH):
        batch = batches.pairs(default_collate(list(islice(pairs, _BATCH))))
        with torch.inference_mode():
            drawings = {name: drawn_pair(generator, batch) for name, generator in generators.items()}
            first = next(iter(drawings.values()))
            pictures = {"warp": resized(first.mesh_warped, batch.truth.shape[-1])}
            pictures |= {name: drawing.image.clamp(-1, 1) for name, drawing in drawings.items()}
            gaps = [lip_gap(in_mean_pose(mesh.numpy())[1]) for mesh in (batch.target_mesh[:, 0], batch.driver_mesh)]
            opens += (gaps[1] - gaps[0] > _OPENS).tolist()
            for name, picture in {"truth": batch.truth, **pictures}.items():
                _measure(values.setdefault(name, {}), picture.float(), batch)
        shown = [batch.targets[:, 0], *pictures.values(), batch.truth]
        rows += [torch.cat([one[i] for one in shown], dim=-1) for i in range(len(batch.truth))]
    _report(values, np.array(opens))
    if args.sheet:
        order = np.argsort(~np.array(opens), kind="stable")[: 2 * _ROWS]
        columns = [torch.cat([rows[i] for i in order[start::2]], dim=1) for start in (0, 1)]
        sheet = torch.cat(columns, dim=2).add(1).mul(127.5).clamp(0, 255).byte()
        write_image(args.sheet, sheet.permute(1, 2, 0).numpy())


def _measure(into: dict[str, list], picture: torch.Tensor, batch: PairBatch) -> None:
    hull, parts = batch.driver_maps[MapKind.HULL_MASK], (_parts(batch) > 0.5).float()
    into.setdefault("features", []).append(part_features(picture, batch.driver_mesh))
    face, true = (judge()(one) for one in (picture, batch.truth))
    into.setdefault("face", []).append(feature_distance(face, true, hull).numpy())
    crops = (part_crops(one, batch.driver_mesh, 128).flatten(0, 1) for one in (picture, batch.truth))
    apart = feature_distance(*(judge()(one) for one in crops))
    into.setdefault("parts", []).append(apart.unflatten(0, (-1, 3)).mean(1).numpy())
    into.setdefault("sharpness", []).append(
        [sharpness(one.permute(1, 2, 0).numpy(), mask[0].numpy()) for one, mask in zip(picture, hull, strict=True)]
    )
    for name, mask in (("picture", batch.mask), ("mouth", batch.mask * parts[:, :1])):
        into.setdefault(name, []).append(psnr_of_each(picture, batch.truth, mask).numpy())


def _kernel(drawn: np.ndarray, true: np.ndarray) -> float:
    """The mean over stages of the kernel distance of features (pictures, parts, values)."""
    ours, theirs = (found.reshape(-1, found.shape[-1]) for found in (drawn, true))
    return float(np.mean([kernel_distance(ours[:, stage], theirs[:, stage]) for stage in stage_slices()]))


def _report(values: dict[str, dict[str, list]], opens: np.ndarray) -> None:
    whole = {name: {key: np.concatenate(found) for key, found in one.items()} for name, one in values.items()}
    truth = whole.pop("truth")
    print(f"{len(opens)} pairs, {opens.sum()} of them open the mouth")
    for name, one in whole.items():
        pairs = (one["features"], truth["features"])
        mouths = _kernel(*(found[:, :1] for found in pairs))
        opening = _kernel(*(found[opens, :1] for found in pairs))
        eyes = _kernel(*(found[:, 1:] for found in pairs))
        print(
            f"{name}: kernel distance of mouths {mouths:.2f}, opening mouths {opening:.2f}, eyes {eyes:.2f}; "
            f"distance of face {one['face'].mean():.3f}, parts {one['parts'].mean():.3f}; "
            f"sharpness {np.median(one['sharpness'] / truth['sharpness']):.2f}; PSNR of picture "
            f"{one['picture'].mean():.2f} dB, mouth {one['mouth'].mean():.2f}, opening {one['mouth'][opens].mean():.2f}"
        )


if __name__ == "__main__":
    main()
