"""How the verification network learns: to tell the training set's people apart, with ArcFace's margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from reenactor.core import FrameBatch, ReenactError
from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.models.oneshot.features import VERIFICATION, face_centre
from reenactor.models.oneshot.verification import AngularMargin, VerificationConfig, VerificationNet
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step


class VerificationObjectiveConfig(BaseModel):
    """The paper does not say; ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["verification"] = "verification"
    model: VerificationConfig = VerificationConfig()
    augment: Augmentation = Augmentation.mild()


class Verifier(nn.Module):
    """The network, and the head that is thrown away after training."""

    def __init__(self, config: VerificationConfig, identities: int) -> None:
        super().__init__()
        self.network = VerificationNet(config)
        self.head = AngularMargin(config, identities)

    def forward(self, images_m1p1: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Embeddings of face crops."""
        return self.network(face_centre(images_m1p1))


@final
class VerificationObjective(Objective[FrameBatch]):
    """One player: cross-entropy over the people of the training set.

    Args:
        config: network and augmentation.
        identities: people in the training set.
    """

    def __init__(self, config: VerificationObjectiveConfig, identities: int) -> None:
        super().__init__()
        if identities < 2:
            raise ReenactError("a verification network needs two people to tell apart at least; prepare more data")
        self.config = config
        self.V = Verifier(config.model, identities)

    @property
    def generator(self) -> nn.Module:
        """Network and head."""
        return self.V

    def generator_step(self, batch: FrameBatch) -> Step:
        """Cross-entropy; the log also has the share of pictures that the head names rightly, without its margin."""
        images, _ = augmented(batch.images, batch.mesh_px, self.config.augment)
        embeddings = self.V(images).float()
        loss = F.cross_entropy(self.V.head(embeddings, batch.identity), batch.identity)
        with torch.no_grad():
            named = (embeddings @ F.normalize(self.V.head.directions).T).argmax(dim=1)
        right = (named == batch.identity).float().mean()
        return Step(loss, {"cross_entropy": loss.detach(), "accuracy": right})

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: FrameBatch) -> Mapping[str, Float[Tensor, ""]]:
        """Mean cosines of pairs of pictures of the same person and of different people, and `auc`.

        The head is not asked, so the people may be strangers to it. Same-person pairs in a batch are mostly of one
        clip, in one light: the numbers flatter. Without pairs of both kinds there is nothing to say.
        """
        embeddings = generator(batch.images).float()
        first, second = torch.triu_indices(len(embeddings), len(embeddings), offset=1, device=embeddings.device)
        cosines = (embeddings[first] * embeddings[second]).sum(dim=1)
        same = batch.identity[first] == batch.identity[second]
        if same.all() or not same.any():
            return {}
        ours, others = cosines[same], cosines[~same]
        return {"cosine_same": ours.mean(), "cosine_different": others.mean(), "auc": area_under_curve(ours, others)}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """What `identity_features` loads: the network without the head."""
        assert isinstance(generator, Verifier)
        config = self.config.model.model_dump(mode="json")
        return Checkpoint(VERIFICATION, config, generator.network.state_dict())


def area_under_curve(positive: Float[Tensor, " n"], negative: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Chance that a positive's score is above a negative's; equal ones count half (Mann and Whitney)."""
    difference = positive[:, None] - negative
    return (difference > 0).float().mean() + (difference == 0).float().mean() / 2
