"""Models into folders that fast runtimes read, and back: graphs, export.json, parity.json. No pickle is read.

export.json: {"format": "reenactor-export", "version": 1, "model": "hybrid", "model_version": ..., "checkpoint": digest,
"config": {...}, "graph_format": "onnx", "precision": "fp32", "graphs": {name: {"file", "inputs", "outputs"}},
"files": {name: SHA-256}}
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, StringConstraints, ValidationError
from torch import Tensor

from reenactor.core import CheckpointError, DriverFrame, ReenactError, Runtime, TargetSet
from reenactor.core.files import read_json, sha256
from reenactor.engine.runtimes.formats import Format, write_graph
from reenactor.engine.runtimes.model import ExportedModel, How
from reenactor.engine.runtimes.runtimes import OnnxRunner, OpenVinoRunner, Precision, Runner, TorchRunner
from reenactor.models import METHODS, ReenactmentModel
from reenactor.models.graphs import ENCODE, ENLARGE, SYNTHESIZE, Graph, GraphAdapter
from reenactor.models.registry import graph_adapter
from reenactor.nn.checkpoint import NAME, replace_folder

DESCRIPTION, PARITY = "export.json", "parity.json"
FORMAT = "reenactor-export"
VERSION = 1

Examples = Iterable[tuple[TargetSet, DriverFrame]]


@dataclass(frozen=True)
class Parity:
    """How far an export's pictures, in [-1, 1], are from PyTorch's in fp32.

    Args:
        frames: compared.
        max_error, mean_error: absolute.
        psnr: dB, peak to peak 2; of all frames' mean square.
    """

    frames: int
    max_error: float
    mean_error: float
    psnr: float


def export_model(
    model: ReenactmentModel,
    out: str | os.PathLike[str],
    *,
    kind: Format = Format.OPENVINO,
    precision: Precision = Precision.FP32,
    checkpoint: str = "",
    calibration: Examples = (),
    examples: Examples = (),
) -> Parity | None:
    """Write the folder, whole or not at all; what was there is replaced.

    Args:
        model: a model with weights.
        out: the folder.
        kind: format of the graphs.
        precision: of `synthesize`; what else there is stays in fp32 where int8 is asked for.
        checkpoint: digest of the weights' checkpoint.
        calibration: for int8, frames as the model will meet them.
        examples: to compare with PyTorch.

    Returns:
        How near the export is, None without examples.

    Raises:
        ReenactError: the model has no network, an extra is missing, or the precision cannot be.
    """
    adapter = graph_adapter(model.name, model.config)
    graphs = adapter.graphs(model)
    calibration = list(calibration)
    feed = (lambda: _frame_inputs(adapter, graphs, calibration)) if calibration else None
    description = {"model": model.name, "model_version": model.version, "checkpoint": checkpoint}

    def compared(folder: Path) -> Parity | None:
        return parity(model, load_exported(folder), examples)

    return write_export(
        Path(out), graphs, description, model.config.model_dump(mode="json"), kind, precision, feed, compared
    )


def load_exported(
    folder: str | os.PathLike[str], *, runtime: Runtime | str | None = None, threads: int | None = None
) -> ExportedModel:
    """The model in a folder that `export_model` wrote.

    Args:
        folder: it.
        runtime: None for the format's own; OpenVINO also runs ONNX files.
        threads: None for as many as PyTorch uses.

    Raises:
        CheckpointError: the folder is missing, damaged, or of a version this release does not know.
        ReenactError: the runtime does not run this format, or is not installed.
    """
    description = read_description(folder)
    name = description["model"]
    if name not in METHODS:
        raise CheckpointError(f"{folder} holds '{name}', which draws no pictures; choose the export of another model")
    if METHODS[name].graphs is None:
        raise CheckpointError(f"{folder} holds '{name}', which has no network; export again")
    release = description["model_version"].partition("-")[0]  # a digest of the weights follows
    if release != METHODS[name].model.version:
        raise CheckpointError(f"{folder} was exported from '{name}' of another release; export again")
    try:
        config = METHODS[name].model.config_type.model_validate(description["config"])
    except ValidationError as error:
        raise CheckpointError(f"{folder} has settings of another release; export again") from error
    adapter = graph_adapter(name, config)
    names = (ENCODE, SYNTHESIZE, *description["graphs"].keys() & {ENLARGE})
    runners, used = graph_runners(folder, description, names, runtime=runtime, threads=threads)
    how = How(used.value, description["precision"])
    return ExportedModel(adapter, runners, version=description["model_version"], how=how)


def parity(model: ReenactmentModel, exported: ReenactmentModel, examples: Examples) -> Parity | None:
    """Compare two models' pictures; None without examples."""
    frames, largest, total, squares = 0, 0.0, 0.0, 0.0
    with torch.inference_mode():
        for targets, driver in examples:
            true, ours = (one.synthesize(one.encode_target(targets), driver) for one in (model, exported))
            error = (true - ours).abs().double()
            frames += len(error)
            largest = max(largest, float(error.max()))
            total += float(error.mean()) * len(error)
            squares += float(error.square().mean()) * len(error)
    if not frames:
        return None
    psnr = 10 * float(np.log10(4 / max(squares / frames, 1e-20)))
    return Parity(frames, largest, total / frames, psnr)


def write_export(
    out: Path,
    graphs: Mapping[str, Graph],
    description: Mapping[str, str],
    config: Mapping[str, Any],
    kind: Format,
    precision: Precision,
    feed: Callable[[], Iterable[Mapping[str, Tensor]]] | None,
    compared: Callable[[Path], Parity | None],
) -> Parity | None:
    """Write an export's folder, whole or not at all.

    Args:
        out: the folder.
        graphs: by name.
        description: what export.json says drafts.
        config: of the network.
        kind, precision: of the graphs; `ENCODE` and `ENLARGE` stay in fp32 where int8 is asked for.
        feed: for int8, makes inputs to calibrate with.
        compared: compares what was written, before it replaces `out`.
    """
    draft = out.with_name(f".{out.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        parts = {}
        for name, graph in graphs.items():
            path = draft / f"{name}{kind.suffix}"
            lossless = name in (ENCODE, ENLARGE) and precision is Precision.INT8
            write_graph(graph, path, kind, Precision.FP32 if lossless else precision, feed)
            parts[name] = {"file": path.name, "inputs": graph.shapes(), "outputs": list(graph.outputs)}
        files = {path.name: sha256(path) for path in sorted(draft.iterdir())}
        whole = {
            "format": FORMAT,
            "version": VERSION,
            **description,
            "config": config,
            "graph_format": kind.value,
            "precision": precision.value,
            "graphs": parts,
            "files": files,
        }
        (draft / DESCRIPTION).write_text(json.dumps(whole, indent=1) + "\n")
        found = compared(draft)
        if found is not None:
            (draft / PARITY).write_text(json.dumps(asdict(found), indent=1) + "\n")
        replace_folder(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return found


_Name = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]


class _Part(BaseModel):
    file: _Name
    outputs: list[str]


class _Description(BaseModel):
    """What is read of export.json."""

    model: _Name
    model_version: str
    config: dict[str, Any]
    graph_format: Format
    precision: Precision
    graphs: dict[str, _Part]
    files: dict[_Name, str]


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """An export's settings, once its files are known to be whole.

    Raises:
        CheckpointError: missing, damaged, or of a version this release does not know.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    description = read_json(
        path,
        "export",
        VERSION,
        missing=f"{folder} holds no export ({DESCRIPTION} is missing); make one with reenactor export",
        again="export again",
        error=CheckpointError,
    )
    try:
        _Description.model_validate(description)
    except ValidationError as error:
        raise CheckpointError(f"{path} does not say what the export holds; export again") from error
    for name, digest in description["files"].items():
        file = folder / name
        if not file.is_file() or sha256(file) != digest:
            raise CheckpointError(
                f"{file} is missing or damaged: its SHA-256 is not the one in {DESCRIPTION}; export again"
            )
    for part in description["graphs"].values():
        if part["file"] not in description["files"]:
            raise CheckpointError(f"{path} lists no SHA-256 of {part['file']}; export again")
    return description


def graph_runners(
    folder: str | os.PathLike[str],
    description: Mapping[str, Any],
    names: Iterable[str],
    *,
    runtime: Runtime | str | None = None,
    threads: int | None = None,
) -> tuple[dict[str, Runner], Runtime]:
    """What runs the graphs of these names in a folder, and in which runtime; arguments as for `load_exported`."""
    kind, precision = Format(description["graph_format"]), Precision(description["precision"])
    own = Runtime.ONNXRUNTIME if kind is Format.ONNX else Runtime.OPENVINO
    used = own if runtime is None else Runtime(runtime)
    if used not in (own, Runtime.OPENVINO):
        raise ReenactError(
            f"{used.value} does not run {kind.value} files; choose {own.value}, or export in another format"
        )
    runners: dict[str, Runner] = {}
    for name in names:
        if (part := description["graphs"].get(name)) is None:
            raise CheckpointError(f"{folder} lacks the graph '{name}'; export again")
        path = Path(folder) / part["file"]
        try:
            if used is Runtime.ONNXRUNTIME:
                runners[name] = OnnxRunner(path, precision=precision, threads=threads)
            else:
                runners[name] = OpenVinoRunner(path, tuple(part["outputs"]), precision=precision, threads=threads)
        except ReenactError:
            raise
        except Exception as error:  # what the runtimes raise for a file that is no graph has no class in common
            raise CheckpointError(f"{used.value} cannot read {path}; export again") from error
    return runners, used


def in_torch(model: ReenactmentModel, device: torch.device, precision: Precision = Precision.FP32) -> ExportedModel:
    """The simplified graphs in PyTorch, without any file."""
    adapter = graph_adapter(model.name, model.config)
    runners = {
        name: TorchRunner(graph, device=device, precision=precision) for name, graph in adapter.graphs(model).items()
    }
    return ExportedModel(adapter, runners, version=model.version, how=How(Runtime.TORCH.value, precision.value))


def _frame_inputs(
    adapter: GraphAdapter, graphs: Mapping[str, Graph], examples: Examples
) -> Iterable[Mapping[str, Tensor]]:
    """Inputs of `SYNTHESIZE` for each example."""
    runners = {name: TorchRunner(graph, device=torch.device("cpu")) for name, graph in graphs.items()}
    plain = ExportedModel(adapter, runners, version="", how=How("", ""))
    for targets, driver in examples:
        yield plain.frame_inputs(plain.encode_target(targets), driver)
