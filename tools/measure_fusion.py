"""How One-shot's fused picture compares with the better of the two it is made from, on a pack's validation split.

python tools/measure_fusion.py --data pack [--weights folder] [--pairs 720]

PSNR inside the face (the parsing map's), each pair on its own: the decoder's picture, the warp, the result.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from reenactor.core import MapKind
from reenactor.models.oneshot import FusionObjective, FusionObjectiveConfig
from reenactor.models.oneshot.objective import trained_generator
from reenactor.nn.checkpoint import shipped_checkpoint
from reenactor.nn.losses import psnr_of_each
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind
from reenactor.research.training.batches import Batches, people_of

BELOW_DB = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--weights", type=Path, help="folder of a model with a FusionNet; default: the one that ships")
    parser.add_argument("--pairs", type=int, default=720, help="of each kind (default: %(default)s)")
    args = parser.parse_args()
    weights = args.weights or shipped_checkpoint("oneshot")
    assert weights is not None
    objective = FusionObjective(FusionObjectiveConfig(decoder=weights)).eval()
    fusion = trained_generator(weights).fusion
    if fusion is None:
        parser.error(f"{weights} has no FusionNet")
    device = torch.device("cpu")
    batches = Batches(objective.maps, people_of(ShardReader(args.data)), device, channels_last=False)
    for kind in (PairKind.CLIP, PairKind.WARP_BACK):
        settings = PairData(size=128, alignment=fusion.config.alignment, targets=1, mix={kind: 1.0})
        found, who = [], []
        for pair in islice(iter(PairStream(args.data, settings, split=Split.VAL, seed=3)), args.pairs):
            batch = batches.pairs(default_collate([pair]))
            with torch.no_grad():
                drawn, warped, _, fused = objective._fused(fusion.eval(), batch)
            face = batch.driver_maps[MapKind.PARSING][:, :1] * batch.mask
            found.append([psnr_of_each(picture, batch.truth, face).item() for picture in (drawn, warped, fused)])
            who.append(pair["identity"])
        values = np.array(found)
        drawn, warped, fused = values.mean(0)
        print(f"{kind.value}, {len(values)} pairs: decoder {drawn:.2f} dB, warp {warped:.2f}, fused {fused:.2f}")
        best = values[:, :2].max(1)
        for name, ours in (("fused", values[:, 2]), ("always the warp", values[:, 1])):
            less = ours - best
            below = Counter(np.array(who)[less < -BELOW_DB].tolist())
            print(
                f"  {name}: {less.mean():+.2f} dB on the better of the two; more than {BELOW_DB} dB below in "
                f"{(less < -BELOW_DB).mean():.1%} ({dict(below.most_common(3))}), worst {less.min():+.2f}"
            )


if __name__ == "__main__":
    main()
