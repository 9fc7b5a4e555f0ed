"""Measure the mean face embedding that CSIM subtracts: src/reenactor/assets/identity_mean.npy.

    python tools/build_identity_mean.py --data ../shared/data

Reads the training portraits of the data pack (manifest.csv: file, kind, split, identity) and averages first
over the photos of a person, then over people, so that those with two photos count once. Takes about a minute.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from reenactor.core import NoFaceError
from reenactor.face.perception.identity import IdentityEmbedder
from reenactor.face.perception.observe import FaceFinder

ASSET = Path(__file__).parents[1] / "src" / "reenactor" / "assets" / "identity_mean.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and portraits/")
    parser.add_argument("--out", type=Path, default=ASSET)
    arguments = parser.parse_args()
    mean, people, skipped = measure(arguments.data)
    np.save(arguments.out, mean)
    print(f"{arguments.out}: {people} people, length {np.linalg.norm(mean):.4f}, without a face: {skipped}")


def measure(folder: Path) -> tuple[np.ndarray, int, list[str]]:
    """Mean embedding (128,) float32, number of people, files in which no face was found."""
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if (row["kind"], row["split"]) == ("portrait", "train")]
    embedder = IdentityEmbedder()
    by_person: dict[str, list[np.ndarray]] = defaultdict(list)
    skipped = []
    with FaceFinder() as finder:
        for row in rows:
            image = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
            try:
                observation = finder.observe(image)
            except NoFaceError:
                skipped.append(row["file"])
                continue
            by_person[row["identity"]].append(embedder.embed(image, observation.landmarks))
    mean = np.mean([np.mean(embeddings, axis=0) for embeddings in by_person.values()], axis=0)
    return mean.astype(np.float32), len(by_person), skipped


if __name__ == "__main__":
    main()
