"""What runs a graph: PyTorch, ONNX Runtime or OpenVINO, behind one call."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from reenactor.core import Runtime
from reenactor.core.system import need
from reenactor.models.graphs import Graph

_COMPILED = 4
"""Sets of shapes that a runner keeps ready: a server draws for a few people at a time."""


class Precision(StrEnum):
    """What an export keeps of numbers."""

    FP32 = "fp32"
    FP16 = "fp16"
    """Weights are stored so; computed in float32, but in half precision by TensorRT and by PyTorch on a GPU."""
    BF16 = "bf16"
    """Computed so, where the processor can."""
    INT8 = "int8"
    """Convolutions and matrix products, after calibration."""


@runtime_checkable
class Runner(Protocol):
    """Runs one graph."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Input name -> tensor to output name -> tensor; float32, contiguous, on the CPU. Other names are ignored."""
        ...


def installed(runtime: Runtime) -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec(runtime.value) is not None


def computes_bf16() -> bool:
    """Whether OpenVINO finds that this processor computes in bfloat16."""
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino_core() -> Any:
    """OpenVINO's core with its CPU plugin, loaded in a thread that ends here.

    The plugin gives the thread that loads it another stack for signals and unmaps that stack when the core is deleted,
    but the thread keeps pointing to it: the next signal that Python handles, such as Ctrl-C, would kill the process.
    """
    import openvino

    def load() -> Any:
        core = openvino.Core()
        core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return core

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


class TorchRunner:
    """A graph's module as it is. On a GPU: channels last, half precision, compiled into CUDA graphs.

    Args:
        graph: what to run.
        device: where.
        precision: computed in; of half precisions only on a GPU, or bf16.
    """

    def __init__(self, graph: Graph, *, device: torch.device, precision: Precision = Precision.FP32) -> None:
        self._inputs, self._outputs = tuple(graph.inputs), graph.outputs
        self._device = device
        half = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}.get(precision)
        self._half = None if device.type == "cpu" and half is torch.float16 else half
        module = graph.module.eval().to(device)
        if device.type == "cuda":
            module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            module.compile(mode="reduce-overhead", dynamic=False)
        self._module = module

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Runner`."""
        lowered = torch.autocast(self._device.type, self._half) if self._half else nullcontext()
        with lowered:
            found = self._module(*(inputs[name].to(self._device) for name in self._inputs))
        found = found if isinstance(found, tuple) else (found,)
        return {name: one.float().cpu() for name, one in zip(self._outputs, found, strict=True)}


def onnx_providers(available: Sequence[str], precision: Precision, engines: Path) -> list[tuple[str, dict[str, str]]]:
    """What ONNX Runtime should compute with, the best first: TensorRT, CUDA, the CPU; each with its settings.

    Building TensorRT's engine takes minutes, so it is kept on disk. ONNX Runtime leaves out by itself what is
    available by name alone, as TensorRT is without its libraries. int8 files are made for CPUs (unsigned activations).

    Args:
        available: `onnxruntime.get_available_providers()`.
        precision: of the file.
        engines: folder for TensorRT's, this file's alone: ONNX Runtime tells them apart by names, not by weights.
    """
    if precision is Precision.INT8:
        return [("CPUExecutionProvider", {})]
    tensorrt = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_fp16_enable": str(int(precision is Precision.FP16)),
    }
    wanted = {"TensorrtExecutionProvider": tensorrt, "CUDAExecutionProvider": {}, "CPUExecutionProvider": {}}
    return [(name, settings) for name, settings in wanted.items() if name in available]


class OnnxRunner:
    """ONNX Runtime, on a GPU where the installed one can (`onnxruntime-gpu`); see `onnx_providers`.

    Args:
        path: an ONNX file.
        precision: of the file.
        threads: None for as many as PyTorch uses.
    """

    def __init__(self, path: Path, *, precision: Precision = Precision.FP32, threads: int | None = None) -> None:
        need("onnxruntime", "fast", "running an ONNX file")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        providers = onnx_providers(onnxruntime.get_available_providers(), precision, path.parent / "tensorrt")
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Runner`."""
        found = self._session.run(None, {name: inputs[name].numpy() for name in self._inputs})
        return {name: torch.from_numpy(one) for name, one in zip(self._outputs, found, strict=True)}


class OpenVinoRunner:
    """OpenVINO on the CPU; compiled for each set of shapes, because fixed shapes run faster.

    Args:
        path: an OpenVINO model (.xml) or an ONNX file.
        outputs: their names, in order.
        precision: bf16 is asked for here; the rest is in the file.
        threads: None for as many as PyTorch uses.
    """

    def __init__(
        self, path: Path, outputs: tuple[str, ...], *, precision: Precision, threads: int | None = None
    ) -> None:
        need("openvino", "fast", "running a model in OpenVINO")
        self._core = _openvino_core()
        self._model = self._core.read_model(path)
        self._inputs = [one.get_any_name() for one in self._model.inputs]
        self._outputs = outputs
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "NUM_STREAMS": 1,
            # Pinned threads of two programs on one core wait for each other.
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Runner`."""
        request = self._request(inputs)
        found = request.infer({name: inputs[name].numpy() for name in self._inputs}, share_inputs=True)
        return {name: torch.from_numpy(found[i]) for i, name in enumerate(self._outputs)}

    def _request(self, inputs: Mapping[str, Tensor]) -> Any:
        shapes = tuple(tuple(inputs[name].shape) for name in self._inputs)
        if shapes in self._requests:
            self._requests.move_to_end(shapes)
            return self._requests[shapes]
        model = self._model.clone()
        model.reshape({name: list(shape) for name, shape in zip(self._inputs, shapes, strict=True)})
        self._requests[shapes] = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
        if len(self._requests) > _COMPILED:
            self._requests.popitem(last=False)
        return self._requests[shapes]
