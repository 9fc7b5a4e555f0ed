"""A model in the runtime that is fastest on this machine; exports and the choice are kept in a cache."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import torch

from reenactor.core import CheckpointError, DriverFrame, ReenactError, Runtime, TargetSet
from reenactor.core.files import cache_folder, write_atomically
from reenactor.core.system import need
from reenactor.engine.portrait import driver_frame, target_set, torch_device, usual_size
from reenactor.engine.runtimes.export import export_model, in_torch, load_exported, parity
from reenactor.engine.runtimes.formats import Format
from reenactor.engine.runtimes.runtimes import Precision, computes_bf16, installed
from reenactor.face.geometry import mean_face
from reenactor.models import METHODS, ReenactmentModel

_LEAST_PSNR = 40.0
"""dB; where bf16 is further from fp32, it is not chosen."""
_FRAMES, _WARM_UP = 5, 2


def fast_model(
    model: ReenactmentModel,
    runtime: Runtime | str = Runtime.AUTO,
    precision: Precision | str | None = None,
    *,
    threads: int | None = None,
    device: torch.device | None = None,
) -> ReenactmentModel:
    """The model in a fast runtime; the first call exports it, later ones find it in the cache.

    On a GPU PyTorch draws, compiled, in half precision. Models without a network come as they are.

    Args:
        model: from PyTorch; it may be the result.
        runtime: "auto" takes the fastest of those that are installed; ONNX Runtime is tried only where OpenVINO is
            missing, since exporting to ONNX takes longest.
        precision: fp32, or bf16 for OpenVINO and PyTorch; None for bf16 where the processor computes in it and the
            pictures stay near those of fp32, else fp32.
        threads: None for as many as PyTorch uses.
        device: what PyTorch computes on; None for a CUDA GPU if there is one, else the CPU.

    Raises:
        ReenactError: the runtime is not installed.
    """
    runtime = Runtime(runtime)
    if METHODS[model.name].graphs is None:
        return model
    asked = None if precision is None else Precision(precision)
    if asked is Precision.FP16 or asked is Precision.INT8:
        raise ReenactError(f"{asked.value} needs frames to calibrate or compare with; use reenactor export")
    device = torch_device() if device is None else device
    if device.type != "cpu" and runtime in (Runtime.AUTO, Runtime.TORCH):
        return in_torch(model, device, asked or Precision.BF16)
    if runtime is not Runtime.AUTO:
        _check_installed(runtime)
        return _ready(model, runtime, asked, threads)
    path = (
        cache_folder()
        / "models"
        / f"choice-{_key(model, asked, threads, torch.get_num_threads(), platform.processor())}.json"
    )
    chosen = _remembered(path)
    if chosen is None:
        found = {one: _ready(model, one, asked, threads) for one in _candidates()}
        chosen = min(found, key=lambda one: _ms_per_frame(found[one]))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"runtime": chosen.value}) + "\n")
        return found[chosen]
    return _ready(model, chosen, asked, threads)


def examples(
    model: ReenactmentModel, *, photos: int = 1, size: int | None = None, seed: int = 0
) -> Iterator[tuple[TargetSet, DriverFrame]]:
    """A made-up person, for timing: the mean face, and pictures of soft spots; of `usual_size` if no size is given."""
    size = usual_size(model) if size is None else size
    rng = np.random.default_rng(seed)
    face = mean_face().points * (size * 0.3) + [size / 2, size / 2, 0]
    meshes = np.stack([face * [1, 1 + 0.02 * i, 1] + rng.normal(0, size / 256, 3) for i in range(photos + 1)])
    meshes = meshes.astype(np.float32)
    spots = rng.integers(0, 256, (photos, 16, 16, 3), np.uint8)
    crops = np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in spots])
    yield target_set(model, crops, meshes[1:]), driver_frame(model, meshes[:1], size)


def _candidates() -> list[Runtime]:
    if installed(Runtime.OPENVINO):
        return [Runtime.OPENVINO, Runtime.TORCH]
    if installed(Runtime.ONNXRUNTIME) and installed_exporter():
        return [Runtime.ONNXRUNTIME, Runtime.TORCH]
    return [Runtime.TORCH]


def installed_exporter() -> bool:
    """Whether ONNX files can be written."""
    try:
        for package in ("onnx", "onnxscript"):
            need(package, "export", "")
    except ReenactError:
        return False
    return True


def _check_installed(runtime: Runtime) -> None:
    need(runtime.value, "fast", f"the runtime {runtime.value}")
    if runtime is Runtime.ONNXRUNTIME and not installed_exporter():
        need("onnx", "export", "exporting to ONNX")
        need("onnxscript", "export", "exporting to ONNX")


def _ready(
    model: ReenactmentModel, runtime: Runtime, precision: Precision | None, threads: int | None
) -> ReenactmentModel:
    """The model in one runtime, exported if the cache has it not."""
    if runtime is Runtime.TORCH:
        return in_torch(model, torch.device("cpu"), precision or Precision.FP32)
    if precision is None:
        precision = Precision.FP32
        if runtime is Runtime.OPENVINO and computes_bf16():
            lower = _exported(model, runtime, Precision.BF16, threads)
            near = parity(model, lower, examples(model))
            if near is not None and near.psnr >= _LEAST_PSNR:
                return lower
    return _exported(model, runtime, precision, threads)


def _exported(model: ReenactmentModel, runtime: Runtime, precision: Precision, threads: int | None) -> ReenactmentModel:
    kind = Format.ONNX if runtime is Runtime.ONNXRUNTIME else Format.OPENVINO
    path = cache_folder() / "models" / f"{model.name}-{kind.value}-{precision.value}-{_key(model)}"
    try:
        return load_exported(path, threads=threads)
    except CheckpointError:  # missing, or damaged
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
        export_model(model, Path(folder) / "export", kind=kind, precision=precision)
        if path.exists():
            os.replace(path, Path(folder) / "damaged")
        os.replace(Path(folder) / "export", path)
    return load_exported(path, threads=threads)


def _ms_per_frame(model: ReenactmentModel) -> float:
    (targets, driver), times = next(examples(model)), []
    with torch.inference_mode():
        code = model.encode_target(targets)
        for _ in range(_WARM_UP + _FRAMES):
            start = time.perf_counter()
            model.synthesize(code, driver)
            times.append(1000 * (time.perf_counter() - start))
    return min(times[_WARM_UP:])


def _key(model: ReenactmentModel, *more: object) -> str:
    """Changes with the weights, the settings and the versions of all that has a hand in it."""
    versions = [_version(name) for name in ("reenactor", "torch", "openvino", "onnxruntime", "onnx")]
    weights = hashlib.sha256()
    for tensor in model.state_dict().values():
        weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    text = json.dumps([model.name, model.version, model.config.model_dump(mode="json"), versions, [*map(str, more)]])
    return hashlib.sha256(text.encode() + weights.digest()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _remembered(path: Path) -> Runtime | None:
    """The choice in a file; None if there is none that can be used."""
    try:
        runtime = Runtime(json.loads(path.read_text())["runtime"])
    except (OSError, ValueError, KeyError, TypeError, ReenactError):
        return None
    return runtime if installed(runtime) else None
