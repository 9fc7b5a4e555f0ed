"""Put trained weights into the package: half precision, with a card.

python tools/ship_weights.py runs/shape-encoder-lite/model shape-encoder --card card.md
python tools/ship_weights.py runs/hybrid/checkpoints/step-00000660 hybrid-discriminator --part objective.D. --card ...
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from reenactor.nn.checkpoint import read_checkpoint, write_checkpoint

WEIGHTS = Path(__file__).parent.parent / "src" / "reenactor" / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="the folder `model` of a run")
    parser.add_argument("name", help="folder in the package")
    parser.add_argument("--part", help="beginning of the names of what is taken of a run's checkpoint")
    parser.add_argument("--card", type=Path, required=True, help="training, measured quality, limits; Markdown")
    args = parser.parse_args()
    checkpoint = replace(read_checkpoint(args.trained), card=args.card.read_text())
    if args.part is not None:
        tensors = {name: one for name, one in checkpoint.tensors.items() if name.startswith(args.part)}
        tensors = {name.removeprefix(args.part): one for name, one in tensors.items()}
        checkpoint = replace(checkpoint, kind=args.name, config={}, tensors=tensors)
    write_checkpoint(WEIGHTS / args.name, checkpoint, dtype=torch.float16)
    size = sum(file.stat().st_size for file in (WEIGHTS / args.name).iterdir())
    print(f"{args.name}: {size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
