"""Training of the network that estimates neutral faces: known expressions on other people's neutral faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reenactor.core import FrameBatch, ReenactError
from reenactor.face.geometry import fit_similarity, in_mean_pose, mean_face
from reenactor.face.geometry.contours import INNER_LIPS_LOWER, INNER_LIPS_UPPER
from reenactor.face.geometry.ict import read_face_model, with_irises
from reenactor.face.retarget.neutral import NEUTRAL, NeutralNetwork
from reenactor.face.retarget.relative import EYES, UPPER_LID, neutral_frame
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step

_NEAREST, _LEAST_FRAMES = 0.05, 5
"""Of a clip's frames, those nearest to its most neutral one whose mean is its neutral face."""
_WIDER = 0.05
"""Of two photos of a person, the one whose mouth is wider and more open by this much, in outer-eye distances, shows an
expression; the other one counts as neutral."""
_OF_A_CLIP = 100
_SAMPLE = 6000
"""Expressions of clips, and half as many of ICT-FaceKit, that the directions are fitted to."""
_ICT_PEOPLE = 400
_DEPTH = 0.3
"""What the depth of a vertex counts: the face mesh guesses it."""
_UNIT = 1e4
"""Errors are in squared hundredths of the outer-eye distance."""


class NeutralObjectiveConfig(BaseModel):
    """Network, and what it learns from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["neutral-face"] = "neutral-face"
    hidden: int = Field(default=256, ge=8)
    bases: int = Field(default=60, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    ict: Path | None = None
    """ICT-FaceKit at the mesh's vertices (`geometry.ict`): further people and expressions."""
    ict_share: float = Field(default=0.3, ge=0, le=1)
    """Share of its people, and of its expressions, if it is given."""
    photo_share: float = Field(default=0.25, ge=0, le=1)
    """Share of expressions that are differences of two photos, where the pack has them."""
    at_rest: float = Field(default=0.25, ge=0, le=1)
    """Share of faces without expression."""
    shut: float = Field(default=0.1, ge=0, le=1)
    """Share of faces whose eyes are closed."""
    strongest: float = Field(default=1.2, gt=0)
    """Expressions are scaled by 0 to this."""
    noise: float = Field(default=0.004, ge=0)
    """Standard deviation of noise of each coordinate, in outer-eye distances."""


@dataclass(frozen=True)
class NeutralStatistics:
    """Neutral faces and expressions of a pack, in mean pose.

    Args:
        clips: (C,) rows of the clips, ascending.
        neutrals: (C, 478, 3) the neutral face of each clip's person.
        learned: (C,) whether it may be learned from.
        people: (P, 478, 3) neutral faces in photos.
        changes: (P, 478, 3) expressions of the same people in other photos.
        sample: (n, 478, 3) expressions in clips.
    """

    clips: Int[np.ndarray, " c"]
    neutrals: Float[np.ndarray, "c 478 3"]
    learned: Bool[np.ndarray, " c"]
    people: Float[np.ndarray, "p 478 3"]
    changes: Float[np.ndarray, "p 478 3"]
    sample: Float[np.ndarray, "n 478 3"]


def neutral_of_clip(shapes: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, "478 3"]:
    """The mean of the frames nearest to the most neutral one; in mean pose."""
    distance = np.linalg.norm((shapes - shapes[neutral_frame(shapes)])[..., :2], axis=2).mean(1)
    return shapes[np.argsort(distance)[: max(_LEAST_FRAMES, int(_NEAREST * len(shapes)))]].mean(0)


def neutral_statistics(
    clips: Iterable[tuple[int, Float[np.ndarray, "_ 478 3"]]],
    photos: Iterable[Sequence[Float[np.ndarray, "478 3"]]],
    measured: Iterable[tuple[int, Float[np.ndarray, "_ 478 3"]]] = (),
) -> NeutralStatistics:
    """What the network learns from.

    Args:
        clips: row and landmarks of each clip, pixels.
        photos: landmarks of the photos of each person who has several.
        measured: clips that are measured only.

    Raises:
        ReenactError: there is no clip.
    """
    rows, neutrals, learned, sample = [], [], [], []
    for learn, some in ((True, clips), (False, measured)):
        for row, meshes in some:
            shapes = in_mean_pose(meshes)[1]
            rows.append(row)
            neutrals.append(neutral_of_clip(shapes))
            learned.append(learn)
            if learn:
                sample.append((shapes - neutrals[-1])[:: max(1, len(shapes) // _OF_A_CLIP)])
    if not sample:
        raise ReenactError("there is no clip to learn expressions from; prepare videos, not only photos")
    people, changes = [], []
    for meshes in photos:
        shapes = in_mean_pose(np.stack(meshes))[1]
        effort = _mouth_effort(shapes)
        calm, strong = shapes[effort.argmin()], shapes[effort.argmax()]
        if np.ptp(effort) > _WIDER:
            people.append(calm)
            changes.append(strong - calm)
    order, none = np.argsort(rows), np.zeros((0, *neutrals[0].shape))
    return NeutralStatistics(
        np.array(rows)[order],
        np.stack(neutrals)[order],
        np.array(learned)[order],
        np.stack(people) if people else none,
        np.stack(changes) if changes else none,
        np.concatenate(sample),
    )


@final
class NeutralObjective(Objective[FrameBatch]):
    """Squared error of the expression found in faces that are the sum of a neutral face and another face's expression.

    Args:
        config: network, and what it learns from.
        statistics: of the pack.

    Raises:
        ReenactError: ICT-FaceKit's file cannot be read.
    """

    clips: Tensor
    neutrals: Tensor
    faces: Tensor
    changes: Tensor
    ict_faces: Tensor
    ict_changes: Tensor
    mirror: Tensor
    weights: Tensor

    def __init__(self, config: NeutralObjectiveConfig, statistics: NeutralStatistics) -> None:
        super().__init__()
        self.config = config
        self.network = NeutralNetwork(config.hidden, config.bases, config.dropout)
        rng = np.random.default_rng(0)
        sample = statistics.sample[rng.permutation(len(statistics.sample))[:_SAMPLE]]
        nobody = np.zeros((0, *sample.shape[1:]))
        ict_faces, ict_changes = nobody, nobody
        if config.ict is not None:
            model = read_face_model(config.ict)
            ict_faces = np.stack([with_irises(model.person(rng)) for _ in range(_ICT_PEOPLE)])
            moved = [with_irises(model.neutral + model.expression(rng)) for _ in range(_SAMPLE // 2)]
            ict_changes = np.stack(moved) - with_irises(model.neutral)
        faces = np.concatenate([statistics.neutrals[statistics.learned], statistics.people])
        self._fit(faces, np.concatenate([sample, statistics.changes, ict_changes]))
        constants = {
            "clips": statistics.clips,
            "neutrals": statistics.neutrals,
            "faces": faces,
            "changes": statistics.changes,
            "ict_faces": ict_faces,
            "ict_changes": ict_changes,
            "mirror": mean_face().mirror,
            "weights": np.tile([1.0, 1.0, _DEPTH], (sample.shape[1], 1)),
        }
        for name, value in constants.items():
            # Found again by the same fit, so not part of a checkpoint.
            self.register_buffer(name, torch.from_numpy(np.array(value)), persistent=False)

    @property
    def generator(self) -> nn.Module:
        """The network."""
        return self.network

    def generator_step(self, batch: FrameBatch) -> Step:
        """Mean squared error; random numbers come from PyTorch's generator."""
        config, count = self.config, len(batch.mesh_px)
        seen = torch.from_numpy(in_mean_pose(batch.mesh_px.detach().cpu().numpy())[1]).to(self.neutrals)
        moved = seen - self.neutrals[torch.searchsorted(self.clips, batch.clip)]
        moved = self._replaced(moved, self.changes, config.photo_share)
        moved = self._replaced(moved, self.ict_changes, config.ict_share)
        faces = self._replaced(_drawn(self.faces, count), self.ict_faces, config.ict_share)
        strength = torch.rand(count) * config.strongest * (torch.rand(count) >= config.at_rest)
        moved = moved * strength[:, None, None].to(moved)
        moved = moved + (torch.rand(count) < config.shut)[:, None, None].to(moved) * _shutting(faces + moved)
        moved, faces = self._mirrored(moved), self._mirrored(faces)
        # An expression moves the head's fit a little, too.
        face = mean_face()
        back = fit_similarity(face.points, (faces + moved).cpu().numpy(), face.weights).inverse()
        whole, rest = (
            torch.from_numpy(back.apply(one.cpu().numpy())).float().to(batch.mesh_px) for one in (faces + moved, faces)
        )
        found = self.network(whole + config.noise * torch.randn_like(whole))
        loss = _UNIT * ((found - (whole - rest)).square() * self.weights.to(found)).mean()
        return Step(loss, {"squares": loss.detach()})

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: FrameBatch) -> Mapping[str, Float[Tensor, ""]]:
        """Mean distance from the clip's neutral face, in percent of the outer-eye distance.

        Of the faces found, and of the frames as they are (`as_seen`).
        """
        seen = torch.from_numpy(in_mean_pose(batch.mesh_px.cpu().numpy())[1]).float().to(batch.mesh_px)
        neutral = self.neutrals[torch.searchsorted(self.clips, batch.clip)].to(seen)
        return {
            name: 100 * (faces - neutral)[..., :2].norm(dim=-1).mean()
            for name, faces in (("error", seen - generator(seen)), ("as_seen", seen))
        }

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `neutral_network` reads."""
        settings = {"hidden": self.config.hidden, "bases": self.config.bases}
        return Checkpoint(NEUTRAL, settings, generator.state_dict())

    def _fit(self, faces: Float[np.ndarray, "f 478 3"], moved: Float[np.ndarray, "n 478 3"]) -> None:
        """Mean and scale of the network's input, and the directions of its output."""
        _, singular, directions = np.linalg.svd(moved.reshape(len(moved), -1), full_matrices=False)
        count = self.config.bases
        if len(singular) < count:
            raise ReenactError(
                f"the clips show fewer expressions than the {count} directions asked for; prepare more clips, "
                "or ask for fewer bases"
            )
        basis = directions[:count] * (singular[:count] / np.sqrt(len(moved)))[:, None]
        flat = faces.reshape(len(faces), -1)
        self.network.basis.copy_(torch.from_numpy(basis))
        self.network.mean.copy_(torch.from_numpy(flat.mean(0)))
        self.network.scale.fill_(2 * float(flat.std(0).mean()))

    @staticmethod
    def _replaced(values: Tensor, others: Tensor, share: float) -> Tensor:
        """The values, a share of them replaced by others at random; as they are if there are no others."""
        if not len(others):
            return values
        chosen = torch.rand(len(values)) < share
        return torch.where(chosen[:, None, None].to(values.device), _drawn(others, len(values)), values)

    def _mirrored(self, shapes: Tensor) -> Tensor:
        """Half of the shapes mirrored, at random."""
        mirrored = shapes[:, self.mirror] * shapes.new_tensor([-1.0, 1.0, 1.0])
        return torch.where((torch.rand(len(shapes)) < 0.5)[:, None, None].to(shapes.device), mirrored, shapes)


def _drawn(values: Tensor, count: int) -> Tensor:
    return values[torch.randint(len(values), (count,))]


def _shutting(shapes: Float[Tensor, "b 478 3"]) -> Float[Tensor, "b 478 3"]:
    """What closes the eyes of each shape."""
    moves = torch.zeros_like(shapes)
    for eye in EYES:
        gap = shapes[:, eye.lower] - shapes[:, eye.upper]
        moves[:, eye.upper] = UPPER_LID * gap
        moves[:, eye.lower] = (UPPER_LID - 1) * gap
    return moves


def _mouth_effort(shapes: Float[np.ndarray, "k 478 3"]) -> Float[np.ndarray, " k"]:
    """How wide and how open mouths are, in outer-eye distances."""
    open_by = (shapes[:, list(INNER_LIPS_LOWER), 1] - shapes[:, list(INNER_LIPS_UPPER), 1]).mean(1)
    return np.linalg.norm(shapes[:, 61] - shapes[:, 291], axis=1) + open_by
