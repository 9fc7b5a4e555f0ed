"""The same work on the machines of a Ray cluster (`pip install reenactor[cluster]`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.research.data.items import Item
from reenactor.research.data.pool import THREADS_ENV, Done, Task, one_thread
from reenactor.research.data.process import Work
from reenactor.research.data.settings import Settings

AHEAD_PER_CPU = 2
"""Tasks handed over per processor: one at work, one waiting for it."""


def run_on_ray(tasks: Iterable[Task], work: Work, root: Path, settings: Settings, *, address: str) -> Iterator[Done]:
    """Spread tasks over a Ray cluster; see `pool.Runner`.

    All machines must see the data set under the same path. A task whose worker or machine died runs once more.

    Args:
        address: as `ray.init` takes it: "host:6379", "auto", or "local" for this machine alone.

    Raises:
        ReenactError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=1, runtime_env={"env_vars": THREADS_ENV})(_work)
        ahead = max(2, AHEAD_PER_CPU * int(ray.cluster_resources().get("CPU", 1)))
        source, running = iter(tasks), {}
        while True:
            while len(running) < ahead and (task := next(source, None)) is not None:
                running[remote.remote(task.item, root, settings, work)] = task
            if not running:
                return
            finished, _ = ray.wait(list(running), num_returns=1)
            for reference in finished:
                task = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayError as error:
                    result = f"failed on the cluster ({type(error).__name__})"
                yield Done(task, result)
    finally:
        if started:
            ray.shutdown()


def _work(item: Item, root: Path, settings: Settings, work: Work) -> bytes:
    with one_thread():
        return work(item, root, settings).to_bytes()


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ReenactError(f"cannot reach a Ray cluster at {address} ({text}); start one with 'ray start'") from error


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]  - an optional extra
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ReenactError("--ray needs Ray, which is not installed; pip install 'reenactor[cluster]'") from None
    return ray
