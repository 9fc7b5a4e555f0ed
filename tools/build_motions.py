"""Make the motion files that ship with the package from clips of the data pack.

    python tools/build_motions.py --data ../shared/data

Each is a stretch of landmarks of a clip whose licence allows it; the clips themselves do not ship.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from reenactor.engine import TrackFolder
from reenactor.media import write_motion


@dataclass(frozen=True)
class Stretch:
    clip: str
    start_s: float
    end_s: float
    source: str
    licence: str


STRETCHES = {
    "talk": Stretch(
        "clips/obama_46597a.mp4",
        1.6,
        8.8,
        "weekly address of the President of the United States",
        "public domain",
    ),
    "smile": Stretch(
        "clips/ls_demo3_ff67e6.mp4",
        6.85,
        12.2,
        "bytedance/LatentSync, assets/demo3_video.mp4",
        "Apache-2.0",
    ),
    "blink": Stretch(
        "clips/reagan_b6c8c2.mp4",
        0.5,
        4.5,
        "address of the President of the United States",
        "public domain",
    ),
}
"""smile: smiles broadly, blinks twice, turns the head by 20 degrees and back."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data pack's folder")
    parser.add_argument("--out", type=Path, default=Path("src/reenactor/assets/motions"))
    args = parser.parse_args()
    for name, stretch in STRETCHES.items():
        with tempfile.TemporaryDirectory() as folder:
            track = TrackFolder(Path(folder), args.data / stretch.clip).fill()
            motion = track.to_motion({"source": stretch.source, "licence": stretch.licence})
        motion = motion.between(stretch.start_s, stretch.end_s)
        write_motion(args.out / f"{name}.motion", motion)
        print(f"{name}: {len(motion)} frames, {motion.duration_s:.2f} s")


if __name__ == "__main__":
    main()
