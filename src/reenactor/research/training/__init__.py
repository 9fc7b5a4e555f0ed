"""Training for every model, in any number of processes and machines. `loop.train` is the entry."""

from reenactor.research.training.config import (
    FrameData,
    Optimizers,
    PairData,
    RunConfig,
    changed,
    saved_config,
    updated,
)

__all__ = ["FrameData", "Optimizers", "PairData", "RunConfig", "changed", "saved_config", "updated"]
