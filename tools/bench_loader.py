"""How many training pairs a second the loader gives.

python tools/bench_loader.py --pack pack [--size 128] [--targets 1] [--workers 2]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind
from reenactor.research.data.streams import batch_loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--targets", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    print("| mix | pairs/s |\n|---|---:|")
    mixes = {"default": PairData().mix} | {kind.value: {kind: 1.0} for kind in PairKind}
    for name, mix in mixes.items():
        stream = PairStream(args.pack, PairData(size=args.size, targets=args.targets, mix=mix))
        print(f"| {name} | {_rate(stream, args.workers, args.seconds):.0f} |", flush=True)


def _rate(stream: PairStream, workers: int, seconds: float) -> float:
    batches = iter(batch_loader(stream, batch_size=8, workers=workers))
    for _ in range(8 * max(1, workers)):  # start-up, and what was made ahead
        next(batches)
    start, pairs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        pairs += len(next(batches)["truth"])
    return pairs / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
