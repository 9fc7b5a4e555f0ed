"""The log of a run: lines of JSON, TensorBoard, sample images."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from reenactor.core.system import need
from reenactor.research.training.machines import Fabric


class RunLog:
    """Writes `log.jsonl`, `tensorboard/` and `pictures/` in a run's folder.

    Args:
        folder: the run's folder.
        first_step: step to resume from; lines of later steps are dropped.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        self._lines, self._pictures = folder / "log.jsonl", folder / "pictures"
        kept = [line for line in read_log(folder) if line["step"] <= first_step]
        self._lines.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._minutes_before = kept[-1]["minutes"] if kept else 0.0
        self._started = time.monotonic()
        self._pictures.mkdir(exist_ok=True)
        need("tensorboard", "research", "training")
        from torch.utils.tensorboard.writer import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers of a step, with the minutes spent in all attempts."""
        minutes = self._minutes_before + (time.monotonic() - self._started) / 60
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        with self._lines.open("a") as file:
            file.write(json.dumps({"step": step, "minutes": round(minutes, 3), **rounded}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def pictures(self, step: int, rows: Float[Tensor, "n 3 h w"]) -> None:
        """Save images in [-1, 1], one below the other."""
        image = _pixels(torch.cat(list(rows), dim=1))
        Image.fromarray(image).save(self._pictures / f"{step:08d}.png")
        self._board.add_image("pictures", image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        self._board.close()


class Means:
    """Named numbers averaged over steps and processes, and samples per second."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = self._samples = 0
        self._since = time.monotonic()

    def add(self, parts: Mapping[str, Tensor], *, samples: int) -> None:
        """Add the numbers of one step."""
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self._samples += samples

    def take(self) -> dict[str, float]:
        """The means since the last call; empty if nothing was added."""
        if not self._sums:
            return {}
        means = self._fabric.all_reduce(torch.stack(list(self._sums.values())) / self._steps, reduce_op="mean")
        assert isinstance(means, Tensor)
        values = dict(zip(self._sums, means.tolist(), strict=True))
        values["samples_per_s"] = self._samples / max(time.monotonic() - self._since, 1e-9)
        self._begin()
        return values


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl, without a last line that a crash cut short."""
    lines = []
    path = folder / "log.jsonl"
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _pixels(picture_m1p1: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    values = picture_m1p1.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte()
    return np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy())
