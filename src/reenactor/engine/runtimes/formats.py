"""Graphs as files: ONNX and OpenVINO, in full or smaller numbers."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from reenactor.core import ReenactError
from reenactor.core.system import need
from reenactor.engine.runtimes.runtimes import Precision
from reenactor.models.graphs import MAX_PHOTOS, PHOTOS, SIDE, Graph

_OPSET = 20
"""The first with bicubic sampling under its present name."""
_LARGEST_SIDE = 2048
_NEVER_INT8 = (
    *("Add", "Subtract", "Multiply", "Divide", "ReduceSum", "ReduceMean", "Sigmoid", "Tanh", "Softmax", "MatMul"),
    *("Interpolate", "GroupNormalization", "MVN", "AdaptiveAvgPool", "AvgPool", "GridSample"),
)
"""OpenVINO's names of what gains little: int8 is for convolutions. Places that pictures are sampled at would suffer."""
_STAYS_FP32 = 1024
"""Tensors of fewer numbers: nothing to gain."""


class Format(StrEnum):
    """File formats of graphs."""

    ONNX = "onnx"
    OPENVINO = "openvino"

    @property
    def suffix(self) -> str:
        """Of the graph's file."""
        return ".onnx" if self is Format.ONNX else ".xml"


Inputs = Iterable[Mapping[str, Tensor]]


def write_graph(
    graph: Graph, path: Path, kind: Format, precision: Precision, calibration: Callable[[], Inputs] | None = None
) -> None:
    """Write a graph's file, or two: OpenVINO keeps weights in another.

    Args:
        graph: what to write.
        path: ends in the format's suffix.
        kind: format.
        precision: see there.
        calibration: for int8, gives examples of inputs.

    Raises:
        ReenactError: the extra 'export' is missing, or the precision needs something else.
    """
    if precision is Precision.BF16 and kind is Format.ONNX:
        raise ReenactError("ONNX Runtime does not compute in bf16 on a CPU; choose the format openvino, or fp16")
    if precision is Precision.INT8 and calibration is None:
        raise ReenactError("int8 needs frames to calibrate with; give a pack with --data")
    if kind is Format.ONNX:
        _write_onnx(graph, path, precision, calibration)
    else:
        _write_openvino(graph, path, precision, calibration)


def _write_onnx(graph: Graph, path: Path, precision: Precision, calibration: Callable[[], Inputs] | None) -> None:
    for package in ("onnx", "onnxscript"):
        need(package, "export", "exporting to ONNX")
    import onnx

    with _converting(), _quiet():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=_dynamic_shapes(graph),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if precision is Precision.FP16:
        _store_fp16(model)
    onnx.save(model, str(path))
    if precision is Precision.INT8:
        assert calibration is not None
        _quantize_onnx(path, graph, calibration())


def _dynamic_shapes(graph: Graph) -> dict[str, Any]:
    """What `torch.export` wants: argument -> axis -> dimension, with a tuple for `*arguments`."""
    # torch.export takes an axis of 1 for fixed; the graph works with one photo all the same, as tests hold.
    dims = {
        PHOTOS: torch.export.Dim(PHOTOS, min=2, max=2 * MAX_PHOTOS),  # some mirrored
        SIDE: torch.export.Dim(SIDE, min=32, max=_LARGEST_SIDE),
    }
    axes = [{axis: dims[name] for axis, name in graph.free.get(one, {}).items()} for one in graph.inputs]
    return dict(inspect.signature(graph.module.forward).bind(*axes).arguments)


def _store_fp16(model: Any) -> None:
    """Large weights are stored as float16 and brought back to float32 where they are read."""
    import onnx

    for weight in list(model.graph.initializer):
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= _STAYS_FP32:
            name = weight.name
            stored = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16")
            model.graph.initializer.remove(weight)
            model.graph.initializer.append(stored)
            node = onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, node)


def _write_openvino(graph: Graph, path: Path, precision: Precision, calibration: Callable[[], Inputs] | None) -> None:
    need("openvino", "export", "exporting to OpenVINO")
    import openvino

    shapes = [
        openvino.PartialShape([-1 if isinstance(size, str) else size for size in shape])
        for shape in graph.shapes().values()
    ]
    with _converting(), _quiet():
        model = openvino.convert_model(graph.module.eval(), example_input=tuple(graph.inputs.values()), input=shapes)
    for port, name in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({name})
    if precision is Precision.INT8:
        assert calibration is not None
        model = _quantized_openvino(model, graph, calibration())
    if precision is Precision.FP16:
        _store_fp16_openvino(model)
    # OpenVINO's own compression also takes small constants, and eps becomes 0.
    openvino.save_model(model, path, compress_to_fp16=False)


def _store_fp16_openvino(model: Any) -> None:
    """As `_store_fp16`."""
    from openvino import opset13

    for one in model.get_ops():
        if one.get_type_name() == "Constant" and one.get_element_type().get_type_name() == "f32":
            values = one.get_data()
            if values.size >= _STAYS_FP32:
                stored = opset13.convert(opset13.constant(values.astype(np.float16)), "f32")
                one.output(0).replace(stored.output(0))


def _quantized_openvino(model: Any, graph: Graph, examples: Inputs) -> Any:
    """Post-training quantization."""
    need("nncf", "export", "int8 in the format openvino")
    with _quiet():
        import nncf

        inputs = [{name: example[name].numpy() for name in graph.inputs} for example in examples]
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            # Weights of 7 bits: processors without VNNI add two products in 16 bits, and sums of 8 bits would overflow.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.quantization.advanced_parameters.OverflowFix.ENABLE
            ),
            ignored_scope=nncf.IgnoredScope(
                patterns=[rf".*\.{name}[./].*" for name in graph.exact], types=list(_NEVER_INT8), validate=False
            ),
        )


def _quantize_onnx(path: Path, graph: Graph, examples: Inputs) -> None:
    """Post-training quantization in place."""
    need("onnxruntime", "export", "int8 in the format onnx")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(examples)

        def get_next(self) -> Any:
            example = next(self._left, None)
            return None if example is None else {name: example[name].numpy() for name in graph.inputs}

    model = onnx.load(path)
    exact = [
        node.name
        for node in model.graph.node
        for given in node.metadata_props
        # Names of the modules that the node is in, from the outermost: "['', 'generator', 'generator.trunk', ...]".
        if given.key.endswith("name_scopes")
        and any(f".{name}'" in given.value or f".{name}." in given.value for name in graph.exact)
    ]
    if graph.exact and not exact:
        raise RuntimeError(f"no layers named {', '.join(graph.exact)} are in the graph, and int8 would show in them")
    with _quiet():
        quantize_static(
            model,
            path,
            Reader(),
            per_channel=True,
            reduce_range=True,  # as `overflow_fix` above
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=exact,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converters talk about their progress."""
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.onnx", "openvino")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


class _Convertible(TorchFunctionMode):
    """Leaves out what no converter knows: a trained network's flows are numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.nan_to_num:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _converting() -> Iterator[None]:
    """Around a converter's work: no gradients, no warnings about branches on sizes that are fixed.

    Nor are shape annotations checked, which tests do: for converters, sizes are symbols.
    """
    unchecked = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _Convertible():
            warnings.simplefilter("ignore")
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", unchecked)
