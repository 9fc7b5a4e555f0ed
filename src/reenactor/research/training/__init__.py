"""The one training loop, for every model; any number of processes and machines."""

from reenactor.research.training.config import FrameData, Optimizers, PairData, RunConfig, changed, saved_config

__all__ = ["FrameData", "Optimizers", "PairData", "RunConfig", "changed", "saved_config"]
