"""Reader for dlib's face recognition network: the one place that knows dlib's file format.

The file is `dlib_face_recognition_resnet_model_v1.dat` (Davis King, CC0), shipped inside the
`face_recognition_models` wheel. The format is what `dlib/serialize.h` and `dlib/dnn/core.h` write, and
nothing of dlib is needed to read it:

* integer: one byte (low 4 bits: how many bytes follow, bit 7: sign), then the magnitude, little-endian;
* boolean: the character `0` or `1`; string: integer length, then bytes;
* real: two integers, mantissa and exponent of two;
* tensor: integer version 2, four integers (n, k, rows, columns), then raw little-endian float32;
* network: every layer writes its header, then all that lies *below* it, then its own content. So the file
  opens with all headers from the output down, and the layers' contents follow in forward order.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from reenactor.core import CheckpointError

FACE_NETWORK_FILE = "dlib_face_recognition_resnet_model_v1.dat"
FACE_NETWORK_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
_WHEEL = "face_recognition_models"
_REPAIR = f"reinstall it with `pip install --force-reinstall --no-deps {_WHEEL}==0.3.0`"

# The version number in an `add_layer` header says what follows (dlib/dnn/core.h).
_TAG, _LAYER, _INNERMOST_LAYER = 1, 2, 3
_TENSOR_VERSION, _ALIAS_VERSION, _LOSS_LAYER_VERSION = 2, 1, 1
_FC_NO_BIAS = 1


@dataclass(frozen=True)
class Convolution:
    """A convolution with bias; one stride and one padding for both axes."""

    weight: Float32[np.ndarray, "out in size size"]
    bias: Float32[np.ndarray, " out"]
    stride: int
    padding: int


@dataclass(frozen=True)
class Affine:
    """`gamma * x + beta` for each channel: a batch normalization frozen after training."""

    gamma: Float32[np.ndarray, " channels"]
    beta: Float32[np.ndarray, " channels"]


@dataclass(frozen=True)
class FullyConnected:
    """A matrix without bias."""

    weight: Float32[np.ndarray, "out in"]


@dataclass(frozen=True)
class Operation:
    """A layer without weights.

    Args:
        kind: `relu_`; `add_prev_`: the sum with a tagged earlier output (the file does not say which); `max_pool_2` or
            `avg_pool_2`.
        size, stride, padding: of a pooling layer; size 0 is the whole picture.
    """

    kind: str
    size: int = 0
    stride: int = 1
    padding: int = 0


Layer: TypeAlias = Convolution | Affine | FullyConnected | Operation


@dataclass(frozen=True)
class DlibFaceNetwork:
    """The content of the file.

    Args:
        mean_rgb: subtracted from each channel of an RGB picture in 0..255 (dlib then divides by 256).
        chip_size: rows and columns of its input.
        layers: in forward order.
    """

    mean_rgb: tuple[float, float, float]
    chip_size: tuple[int, int]
    layers: tuple[Layer, ...]


def load_face_network() -> DlibFaceNetwork:
    """Find, verify and read the installed file.

    Raises:
        CheckpointError: it is missing, or is not the known file.
    """
    path = find_face_network()
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != FACE_NETWORK_SHA256:
        raise CheckpointError(f"{path} is damaged or of another version (its SHA-256 differs); {_REPAIR}.")
    return parse_face_network(data)


def find_face_network() -> Path:
    """Path of the installed file.

    The package is located, not imported: importing it needs `pkg_resources`, which recent set-ups lack.
    """
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None:
        raise CheckpointError(f"The face recognition network is missing: {_WHEEL} is not installed; {_REPAIR}.")
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / "models" / FACE_NETWORK_FILE
        if path.is_file():
            return path
    raise CheckpointError(f"The face recognition network is missing from the package {_WHEEL}; {_REPAIR}.")


def parse_face_network(data: bytes) -> DlibFaceNetwork:
    """Read the whole file.

    Raises:
        CheckpointError: it is damaged; the message says at which byte.
    """
    reader = _Reader(data)
    try:
        reader.expect(_LOSS_LAYER_VERSION, reader.integer())
        reader.expect("loss_metric_2", reader.string())
        reader.skip(reader.real, 2)  # margin and distance threshold of the training loss
        headers = []
        while (header := reader.integer()) != _INNERMOST_LAYER:
            reader.expect((_TAG, _LAYER), header)
            headers.append(header)
        reader.expect("input_rgb_image_sized", reader.string())
        mean_rgb = (reader.real(), reader.real(), reader.real())
        chip_size = (reader.integer(), reader.integer())
        layers = [_read_layer(reader)]
        reader.integer()  # sample expansion factor, 1 outside training
        # Tags are names without content; they only took part in the headers.
        layers += [_read_layer(reader) for header in reversed(headers) if header == _LAYER]
        reader.expect(len(data), reader.position)
    except (IndexError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{FACE_NETWORK_FILE} is unreadable: {error} at byte {reader.position} of {len(data)}; {_REPAIR}."
        ) from error
    return DlibFaceNetwork(mean_rgb, chip_size, tuple(layers))


class _Reader:
    """Reads dlib's primitive types in order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if count < 0 or len(taken) != count:
            raise ValueError("the file ends too early")
        self.position += count
        return taken

    def integer(self) -> int:
        (header,) = self.take(1)
        magnitude = int.from_bytes(self.take(header & 0x0F), "little")
        return -magnitude if header & 0x80 else magnitude

    def boolean(self) -> bool:
        character = self.take(1)
        self.expect((b"0", b"1"), character)
        return character == b"1"

    def string(self) -> str:
        return self.take(self.integer()).decode("ascii")

    def real(self) -> float:
        mantissa = self.integer()
        return mantissa * 2.0 ** self.integer()

    def shape(self) -> tuple[int, int, int, int]:
        return self.integer(), self.integer(), self.integer(), self.integer()

    def tensor(self) -> Float32[np.ndarray, "n k rows columns"]:
        self.expect(_TENSOR_VERSION, self.integer())
        shape = self.shape()
        count = shape[0] * shape[1] * shape[2] * shape[3]
        return np.frombuffer(self.take(4 * count), "<f4").reshape(shape)

    def alias(self) -> tuple[int, int, int, int]:
        """The shape of a part of the parameter tensor (parts lie one after the other)."""
        self.expect(_ALIAS_VERSION, self.integer())
        return self.shape()

    @staticmethod
    def skip(read: Callable[[], object], count: int) -> None:
        for _ in range(count):
            read()

    @staticmethod
    def expect(expected: object, found: object) -> None:
        if found not in expected if isinstance(expected, tuple) else found != expected:
            raise ValueError(f"expected {expected!r}, found {found!r}")


def _read_layer(reader: _Reader) -> Layer:
    """A layer's content, and after it three flags and three tensors of the training, which are ignored."""
    kind = reader.string()
    if kind not in _READERS:
        raise ValueError(f"unknown layer {kind!r}")
    layer = _READERS[kind](reader, kind)
    reader.skip(reader.boolean, 3)
    reader.skip(reader.tensor, 3)
    return layer


def _read_convolution(reader: _Reader, _kind: str) -> Convolution:
    parameters = reader.tensor().ravel()
    _filters, rows, columns, stride_y, stride_x, padding_y, padding_x = (reader.integer() for _ in range(7))
    for vertical, horizontal in ((rows, columns), (stride_y, stride_x), (padding_y, padding_x)):
        reader.expect(vertical, horizontal)
    weight_shape, bias_shape = reader.alias(), reader.alias()
    reader.skip(reader.real, 4)  # learning rate and weight decay, of the weights and of the bias
    weight, bias = np.split(parameters, [int(np.prod(weight_shape))])
    reader.expect(int(np.prod(bias_shape)), len(bias))
    return Convolution(weight.reshape(weight_shape), bias, stride_y, padding_y)


def _read_affine(reader: _Reader, _kind: str) -> Affine:
    parameters = reader.tensor().ravel()
    gamma_shape, beta_shape = reader.alias(), reader.alias()
    reader.integer()  # for convolutions or for fully connected layers: the same arithmetic
    gamma, beta = np.split(parameters, [int(np.prod(gamma_shape))])
    reader.expect(int(np.prod(beta_shape)), len(beta))
    return Affine(gamma, beta)


def _read_fully_connected(reader: _Reader, _kind: str) -> FullyConnected:
    outputs, inputs = reader.integer(), reader.integer()
    parameters = reader.tensor().reshape(inputs, outputs)
    reader.skip(reader.alias, 2)  # the matrix and an empty bias
    reader.expect(_FC_NO_BIAS, reader.integer())
    reader.skip(reader.real, 4)  # learning rate and weight decay, of the weights and of the bias
    return FullyConnected(parameters.T)


def _read_pooling(reader: _Reader, kind: str) -> Operation:
    rows, columns, stride_y, stride_x, padding_y, padding_x = (reader.integer() for _ in range(6))
    for vertical, horizontal in ((rows, columns), (stride_y, stride_x), (padding_y, padding_x)):
        reader.expect(vertical, horizontal)
    return Operation(kind, rows, stride_y, padding_y)


_READERS: dict[str, Callable[[_Reader, str], Layer]] = {
    "con_4": _read_convolution,
    "affine_": _read_affine,
    "fc_2": _read_fully_connected,
    "max_pool_2": _read_pooling,
    "avg_pool_2": _read_pooling,
    "relu_": lambda _, kind: Operation(kind),
    "add_prev_": lambda _, kind: Operation(kind),
}
