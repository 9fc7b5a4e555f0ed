"""How fast a network overfits a few samples. A network that cannot has a mistake in it.

python tools/bench_overfit.py --pack pack --out RUN [--minutes 10] [--recipe marionette-lite]

MarioNETte, without the mesh prior so that flows are learned too: sixteen pairs of one clip. One-shot: eight portraits,
on contours of others. Both without discriminator and perceptual losses: absolute error alone. Prints the curve
(docs/experiments.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from reenactor.research.recipes import recipe
from reenactor.research.training import changed
from reenactor.research.training.log import read_log
from reenactor.research.training.loop import train
from reenactor.research.training.machines import make_fabric

SETTINGS = {
    "marionette-lite": [
        "objective.model.mesh_prior=false",
        "objective.gan=0",
        "objective.feature_matching=0",
        "objective.perceptual_vgg19=0",
        "objective.pixel_l1=10",
        'data.mix={"clip": 1.0}',
        'data.people=["reagan"]',
        "data.targets=1",
        "data.opening=0",
        "data.turning=0",
        "data.augment.mirror=0",
        "optimizers.clip_norm=null",
        "optimizers.final_factor=1",
        "batch_size=8",
    ],
    "oneshot-lite": [
        "objective.gan=0",
        "objective.perceptual=0",
        "objective.pixel=10",
        "objective.reconstruction=3",
        "objective.augment={}",
        'data.mix={"contour": 1.0}',
    ],
}
SAMPLES = {"marionette-lite": 16, "oneshot-lite": 8}
FOR_ALL = [
    "optimizers.generator_lr=1e-3",
    "optimizers.betas=[0.9, 0.999]",
    "ema_halflife_ksamples=0.1",
    "precision=bf16",
    "steps=100000",
    "log_every=20",
    "sample_every=20",
    "save_every=100000",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", choices=SETTINGS, default="marionette-lite")
    parser.add_argument("--samples", type=int, help="to be learned (default: 16, One-shot: 8)")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    config = changed(recipe(args.recipe), [*SETTINGS[args.recipe], *FOR_ALL])
    args.out.mkdir(parents=True)
    fabric = make_fabric(accelerator="cpu", devices=1)
    train(config, args.pack, args.out, fabric, max_minutes=args.minutes, overfit=args.samples or SAMPLES[args.recipe])
    print(f"{torch.get_num_threads()} threads\n")
    print("| minutes | samples seen | PSNR, dB | inside the face, dB |\n|---:|---:|---:|---:|")
    for line in read_log(args.out):
        if "overfit/psnr" in line:
            seen = line["step"] * config.batch_size
            print(f"| {line['minutes']:.1f} | {seen} | {line['overfit/psnr']:.1f} | {line['overfit/face_psnr']:.1f} |")


if __name__ == "__main__":
    main()
