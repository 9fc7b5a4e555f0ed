"""One file per data set; each lists its items as `reenactor.research.data.items` defines them."""

from reenactor.research.data.datasets import (
    celeba_hq,
    celebv,
    ffhq,
    folder,
    manifest,
    mpiigaze,
    raf_db,
    voxceleb1,
    wflw,
)
from reenactor.research.data.datasets.together import together
from reenactor.research.data.items import Adapter

_ALONE: dict[str, Adapter] = {
    "folder": folder.items,
    "manifest": manifest.items,
    "voxceleb1": voxceleb1.items,
    "celebv": celebv.items,
    "celeba-hq": celeba_hq.items,
    "ffhq": ffhq.items,
    "raf-db": raf_db.items,
    "wflw": wflw.items,
    "mpiigaze": mpiigaze.items,
}
DATASETS: dict[str, Adapter] = {**_ALONE, "together": together(_ALONE)}
"""By the name that the command line takes."""

__all__ = ["DATASETS"]
