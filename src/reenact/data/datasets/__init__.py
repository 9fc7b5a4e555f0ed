"""One file per data set; each lists its items as `reenact.data.items` defines them."""

from reenact.data.datasets import celeba_hq, celebv, ffhq, folder, manifest, raf_db, voxceleb1
from reenact.data.items import Adapter

DATASETS: dict[str, Adapter] = {
    "folder": folder.items,
    "manifest": manifest.items,
    "voxceleb1": voxceleb1.items,
    "celebv": celebv.items,
    "celeba-hq": celeba_hq.items,
    "ffhq": ffhq.items,
    "raf-db": raf_db.items,
}
"""By the name that the command line takes."""

__all__ = ["DATASETS"]
