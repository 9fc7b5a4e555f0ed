"""Adapters by the names of their models."""

from __future__ import annotations

from pydantic import BaseModel

from reenact.core import ReenactError
from reenact.export.adapter import Adapter
from reenact.export.hybrid import HybridAdapter
from reenact.export.marionette import MarioNETteAdapter
from reenact.export.oneshot import OneShotAdapter

ADAPTERS: dict[str, type[Adapter]] = {
    "hybrid": HybridAdapter,
    "marionette": MarioNETteAdapter,
    "oneshot": OneShotAdapter,
}


def adapter_of(name: str, config: BaseModel) -> Adapter:
    """Of the model of that name.

    Raises:
        ReenactError: it has no network.
    """
    if name not in ADAPTERS:
        raise ReenactError(f"'{name}' cannot be exported; choose one of: {', '.join(ADAPTERS)}")
    return ADAPTERS[name](config)  # pyright: ignore[reportCallIssue]
