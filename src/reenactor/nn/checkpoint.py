"""Trained weights in a folder: config.json, model*.safetensors, card.md. No pickle is ever read.

{"format": "reenactor-checkpoint", "version": 1, "kind": "marionette", "config": {...}, "files": {name: SHA-256}}
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from reenactor.core import CheckpointError
from reenactor.core.files import read_json, sha256

CONFIG, CARD = "config.json", "card.md"
FORMAT = "reenactor-checkpoint"
VERSION = 1
N = TypeVar("N", bound=nn.Module)
NAME = re.compile("[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")
"""Of a kind or a file: no folder, and nothing that a terminal would obey."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, wherever it is stored.

    Args:
        kind: which class reads it; a zoo entry's name, or another trained part's.
        config: the class' settings, as JSON.
        tensors: name -> weights.
        card: what it was trained on, how good it is, what its limits are; Markdown.
        digest: SHA-256 of its config.json, which names those of the weights; empty before it is written.
    """

    kind: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    card: str = field(default="", compare=False)
    digest: str = field(default="", compare=False)


def write_checkpoint(
    folder: str | os.PathLike[str],
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype | None = None,
    max_file_mb: float = 1024.0,
) -> None:
    """Write the folder, whole or not at all; what was there is replaced.

    Args:
        folder: created.
        checkpoint: what to write.
        dtype: that floating-point weights are stored in; None for their own.
        max_file_mb: weights are spread over files of at most this size (2^20 bytes); one tensor is never divided.
    """
    folder = Path(folder)
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    tensors = {
        name: tensor.detach().cpu().to(dtype if dtype and tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in checkpoint.tensors.items()
    }
    names = iter(tensors)
    groups = list(groups_by_size(tensors.values(), int(max_file_mb * 2**20))) or [[]]
    parts = [{next(names): tensor for tensor in group} for group in groups]
    digests = {}
    for number, part in enumerate(parts):
        name = "model.safetensors" if len(parts) == 1 else f"model-{number + 1:03d}-of-{len(parts):03d}.safetensors"
        (beside / name).write_bytes(save(part))  # `save_file` would make it readable for its owner only
        digests[name] = sha256(beside / name)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "kind": checkpoint.kind,
        "config": dict(checkpoint.config),
        "files": digests,
    }
    (beside / CONFIG).write_text(json.dumps(description, indent=1) + "\n")
    (beside / CARD).write_text(checkpoint.card, encoding="utf-8")
    replace_folder(beside, folder)


def read_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read a folder that `write_checkpoint` wrote; floating-point weights come back as float32.

    Raises:
        CheckpointError: missing, damaged, or of a version this release does not know.
    """
    folder = Path(folder)
    description = read_json(
        folder / CONFIG,
        "checkpoint",
        VERSION,
        missing=f"{folder} holds no weights ({CONFIG} is missing); give a checkpoint's folder",
        again="give another folder, or copy the checkpoint again",
        error=CheckpointError,
    )
    kind, config, files = (description.get(name) for name in ("kind", "config", "files"))
    unclear = f"{folder / CONFIG} does not say what the weights are; copy the checkpoint again"
    if not (isinstance(config, dict) and isinstance(files, dict)):
        raise CheckpointError(unclear)
    if not all(NAME.fullmatch(str(name)) for name in (kind, *files)):
        raise CheckpointError(unclear)
    tensors: dict[str, Tensor] = {}
    for name, digest in files.items():
        path = folder / name
        try:
            if sha256(path) != digest:
                raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {CONFIG}; copy it again")
            tensors |= load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(f"cannot read {path}: {error}; copy the checkpoint again") from error
    return Checkpoint(
        kind=str(kind),
        config=config,
        tensors={name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
        card=(folder / CARD).read_text(encoding="utf-8", errors="replace") if (folder / CARD).exists() else "",
        digest=sha256(folder / CONFIG),
    )


def shipped_checkpoint(name: str) -> Path | None:
    """Folder of the weights of that name in the package; None if there are none."""
    folder = Path(str(resources.files("reenactor"))) / "weights" / name
    return folder if folder.is_dir() else None


def shipped_network(name: str, make: Callable[..., N]) -> N:
    """A network with its shipped weights, for inference.

    Args:
        name: of the weights.
        make: the network of a checkpoint's config, given as keywords.
    """
    folder = shipped_checkpoint(name)
    assert folder is not None, "the package's weights are incomplete"
    checkpoint = read_checkpoint(folder)
    network = make(**checkpoint.config)
    network.load_state_dict(dict(checkpoint.tensors))
    return network.eval().requires_grad_(False)


def replace_folder(new: Path, old: Path) -> None:
    """Replace folder `old`, which may not exist, by `new`. A crash leaves one of them whole under one of two names."""
    aside = old.with_name(f".{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)


def groups_by_size(tensors: Iterable[Tensor], most_bytes: int) -> Iterator[list[Tensor]]:
    """Consecutive tensors, as many as fit into so many bytes; at least one a group, and no group without tensors."""
    group: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if group and size + tensor.nbytes > most_bytes:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.nbytes
    if group:
        yield group
