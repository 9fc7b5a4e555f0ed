"""Tiny ONNX networks of known arithmetic in the place of ArcFace, made by the tests."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

WEIGHTS = np.array([[0.9, -0.4, 0.2, 0.1], [0.1, 0.8, -0.5, 0.3], [-0.3, 0.2, 0.7, 0.6]], np.float32)
"""(3, 4) mean red, green and blue to four numbers."""


def write_network(path, *, weights=WEIGHTS, shape=("n", 3, 112, 112), scales=False, nodes=None, outputs=("y",), **more):
    """Mean of each colour, times `weights`; with `scales` the graph brings pixels to [-1, 1] itself."""
    steps = [("Sub", ["x", "middle"], "a"), ("Mul", ["a", "step"], "b")] if scales else [("Identity", ["x"], "b")]
    constants = {"w": weights, "middle": np.float32(127.5), "step": np.float32(1 / 127.5)}
    first = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps]
    last = [
        helper.make_node("ReduceMean", ["b"], ["c"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes or [*first, *last],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path), **more)
    return path


def embedded(mean_rgb, weights=WEIGHTS):
    """The embedding of a chip with this mean colour, 0 to 255, by hand."""
    found = (np.asarray(mean_rgb, float) / 127.5 - 1) @ weights
    return found / np.linalg.norm(found)
