"""Players that wait for their turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(network: nn.Module | None) -> Iterator[None]:
    """Gradients pass through the network, if there is one, but are not gathered in it."""
    parameters = [p for p in network.parameters() if p.requires_grad] if network is not None else []
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
