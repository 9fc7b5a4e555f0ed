"""The one training loop, for every model; any number of processes and machines."""

from reenact.training.config import FrameData, Optimizers, PairData, RunConfig, changed, saved_config

__all__ = ["FrameData", "Optimizers", "PairData", "RunConfig", "changed", "saved_config"]
