"""What a user may choose: the enums, and one `Options` record that command line, API and page share. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from reenactor.core.errors import ReenactError

DEFAULT_MODEL = "hybrid"
"""The model that draws if none is chosen."""
SMALLEST_SIDE, LARGEST_SIZE = 64, 2048
"""Pixels. The smallest side of a photo or a face crop; the largest face crop (50 MB as float32, and models hold
several)."""
MAX_STRENGTH = 2.0
"""The most that an expression can be exaggerated: beyond, lips and brows leave what a face can do."""
SIZE_STEP = 32
"""Sides of face crops are multiples of this, as the networks halve them up to five times."""


class _Choice(StrEnum):
    """An enum whose members are strings, and whose constructor refuses others with one sentence.

    Raises:
        ReenactError: from `Transfer("x")` and the like; the message lists what there is.
    """

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        values = ", ".join(one.value for one in cls)
        raise ReenactError(f"the {cls.__name__.lower()} must be one of {values}, not {value}")


class Transfer(_Choice):
    """How the driver's movement is carried over to the target."""

    PARTS = "parts"
    """The driver's change from its neutral face, on the target's: both are estimated. Lips and lids meet where the
    driver's do, eyes open and look as the driver's (`reenactor.face.retarget.parts`)."""
    RELATIVE = "relative"
    """The driver's change since its most neutral frame, added to the photo: a photo that smiles keeps smiling."""
    ABSOLUTE = "absolute"
    """The driver's own face shape and head angles, at the target's size and position."""
    TRANSFORMER = "transformer"
    """The driver's expression, separated from its face shape by paper B's landmark transformer, on the target's shape
    without the target's own expression (`reenactor.face.retarget.transformer`)."""


class Head(_Choice):
    """How the driver's head angles become the target's; size and movement in the picture are always relative."""

    RELATIVE = "relative"
    """The driver's turn since its most neutral frame, added to the target's pose."""
    ABSOLUTE = "absolute"
    """The driver's own angles, as in paper B."""


class Layout(_Choice):
    """What a frame of the result shows."""

    PHOTO = "photo"
    """The whole first photo, with the moving face in it."""
    CROP = "crop"
    """The face crop alone."""
    GRID = "grid"
    """Target, driver and result side by side."""


class Background(_Choice):
    """What happens to the part of the face crop that shows no person."""

    STILL = "still"
    """It stays as in the photo."""
    MOVING = "moving"
    """It follows the head, as the model draws it."""


class Runtime(_Choice):
    """What computes a trained model."""

    AUTO = "auto"
    """The fastest one here, measured once and remembered."""
    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


@dataclass(frozen=True)
class Options:
    """How to animate. The defaults are those of the command line; strings are turned into the enums.

    Args:
        model: name of a model or published system, see `reenactor models`.
        weights: folder of a checkpoint; None for the weights that ship.
        transfer: see `Transfer`; None for the model's usual one.
        head: see `Head`; None for the transfer's usual one (`head_with`).
        head_movement: how much of the driver's head movement is followed, from 0 (the head stays) to 1 (all).
        strength: of the driver's expression, from 0 (none) over 1 (as it is) to 2; lids and gaze stay as they are.
        keep_expression: the photo's expression stays beneath the movement, with the transfer PARTS.
        transformer: folder of a landmark transformer's checkpoint; None for the one that ships.
        layout: see `Layout`.
        size: side of the face crop in pixels, a multiple of 32 from 64 to 2048; None for the model's choice.
        max_side: photos with a longer side are shrunk to it first; at least 64 pixels.
        face, driver_face: which face of the photos and of the driver, counted from 1 from the left; None for the
            largest.
        still: number of the frame that moves, from 0, if the first target is a video; None for one that faces the
            camera.
        smooth: steady the driver's landmarks with a One-Euro filter.
        background: see `Background`.
        provenance: sign the result as synthetic.
        runtime: see `Runtime`.
        device: what PyTorch computes on: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps".
        alpha: keep the first photo's transparency; not with the layout GRID.

    Raises:
        ReenactError: a value that cannot be; one sentence.
    """

    model: str = DEFAULT_MODEL
    weights: Path | None = None
    transfer: Transfer | None = None
    head: Head | None = None
    head_movement: float = 1.0
    strength: float = 1.0
    keep_expression: bool = False
    transformer: Path | None = None
    layout: Layout = Layout.PHOTO
    size: int | None = None
    max_side: int = 1920
    face: int | None = None
    driver_face: int | None = None
    still: int | None = None
    smooth: bool = False
    background: Background = Background.STILL
    provenance: bool = True
    runtime: Runtime = Runtime.TORCH
    device: str = "auto"
    alpha: bool = False

    def __post_init__(self) -> None:
        if self.transfer is not None:
            self._set("transfer", Transfer(self.transfer))
        if self.head is not None:
            self._set("head", Head(self.head))
        self._set("layout", Layout(self.layout))
        self._set("background", Background(self.background))
        self._set("runtime", Runtime(self.runtime))
        for name in ("weights", "transformer"):
            if getattr(self, name) is not None:
                self._set(name, Path(getattr(self, name)))
        transformed = self.transformer is not None and self.transfer is not None
        check_transfer(self.transfer, self.head, keep_expression=self.keep_expression, transformed=transformed)
        check_amounts(head_with(self.transfer, self.head), self.head_movement, self.strength)
        check_size(self.size)
        check_max_side(self.max_side)
        check_face_number(self.face)
        check_face_number(self.driver_face)
        check_still(self.still)
        check_device(self.device)
        check_alpha(self.layout, alpha=self.alpha)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # the record is frozen


def check_transfer(transfer: Transfer | None, head: Head | None, *, keep_expression: bool, transformed: bool) -> None:
    """Refuse what does not go together.

    Args:
        transfer: None for the model's usual one.
        head: None for the transfer's usual one.
        keep_expression: the photo's expression shall stay.
        transformed: a landmark transformer is chosen.

    Raises:
        ReenactError: one sentence.
    """
    head_with(transfer, head)
    if keep_expression and transfer not in (None, Transfer.PARTS):
        raise ReenactError("keep_expression goes with the transfer 'parts'; leave out the other transfer")
    if transformed and transfer is not Transfer.TRANSFORMER:
        raise ReenactError("a landmark transformer goes with the transfer 'transformer'; choose that")


def check_amounts(head: Head, head_movement: float, strength: float) -> None:
    """Refuse amounts of movement that cannot be.

    Raises:
        ReenactError: out of range, or less than all of the driver's own angles.
    """
    if not 0 <= head_movement <= 1:
        raise ReenactError(f"the head's movement must be from 0 (it stays) to 1 (as the driver's), not {head_movement}")
    if head_movement != 1 and head is Head.ABSOLUTE:
        raise ReenactError("a part of the head's movement cannot be taken of absolute angles; choose one of the two")
    if not 0 <= strength <= MAX_STRENGTH:
        raise ReenactError(f"the strength of the expression must be from 0 to {MAX_STRENGTH:g}, not {strength}")


def head_with(transfer: Transfer | None, head: Head | None) -> Head:
    """The head movement with a transfer: the one given, or the usual one (of ABSOLUTE absolute, of others relative).

    Raises:
        ReenactError: relative for the transfer ABSOLUTE, which is the driver's angles too.
    """
    if transfer is Transfer.ABSOLUTE and head is Head.RELATIVE:
        raise ReenactError("the transfer 'absolute' takes the driver's head angles; leave out the head 'relative'")
    return head or (Head.ABSOLUTE if transfer is Transfer.ABSOLUTE else Head.RELATIVE)


def check_alpha(layout: Layout, *, alpha: bool) -> None:
    """Refuse transparency in a grid.

    Raises:
        ReenactError: one sentence.
    """
    if alpha and layout is Layout.GRID:
        raise ReenactError(
            "a grid has no transparency to keep; leave out alpha, or choose the layout 'photo' or 'crop'"
        )


def check_size(size: int | None) -> None:
    """Refuse a side of the face crop that cannot be.

    Raises:
        ReenactError: not a multiple of 32 from 64 to 2048; None is fine.
    """
    if size is not None and (not SMALLEST_SIDE <= size <= LARGEST_SIZE or size % SIZE_STEP):
        allowed = f"a multiple of {SIZE_STEP} from {SMALLEST_SIDE} to {LARGEST_SIZE}"
        raise ReenactError(f"the size of the face crop must be {allowed}, not {size}")


def check_max_side(max_side: int) -> None:
    """Refuse a limit to which no photo can be shrunk.

    Raises:
        ReenactError: less than 64 pixels.
    """
    if max_side < SMALLEST_SIDE:
        raise ReenactError(f"the longest side must be at least {SMALLEST_SIDE} pixels, not {max_side}")


def check_face_number(face: int | None) -> None:
    """Refuse a face number that cannot be.

    Raises:
        ReenactError: less than 1; None (the largest face) is fine.
    """
    if face is not None and face < 1:
        raise ReenactError(f"faces are counted from 1, from the left, and {face} was asked for; give 1 or more")


def check_still(still: int | None) -> None:
    """Refuse a frame's number that cannot be.

    Raises:
        ReenactError: less than 0; None is fine.
    """
    if still is not None and still < 0:
        raise ReenactError(f"frames are counted from 0, and {still} was asked for; give 0 or more")


def check_device(device: str) -> None:
    """Refuse a name that is no device's; whether there is one is found out where networks are loaded.

    Raises:
        ReenactError: not auto, cpu, cuda, cuda:N or mps.
    """
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ReenactError(f"the device must be auto, cpu, cuda, cuda:N or mps, not {device}")
