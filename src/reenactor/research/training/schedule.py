"""How large the optimizers' steps are."""

from __future__ import annotations

import math

from reenactor.research.training.config import RunConfig


def learning_rate_factor(config: RunConfig, step: int) -> float:
    """Share of the learning rates that step `step` (from 0) uses: a linear rise, then half a cosine."""
    o = config.optimizers
    rise = min(1.0, (step + 1) / (o.warmup_steps + 1))
    done = max(0, step - o.warmup_steps) / max(1, config.steps - o.warmup_steps)
    return rise * (o.final_factor + (1 - o.final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
