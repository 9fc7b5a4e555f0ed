"""Training objective of the landmark transformer's disentangler (paper B, supplement B)."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from reenactor.core import FrameBatch
from reenactor.face.retarget.transformer.config import LandmarkTransformerObjectiveConfig
from reenactor.face.retarget.transformer.images import ResNet50Features, load_resnet50
from reenactor.face.retarget.transformer.model import LandmarkTransformer
from reenactor.face.retarget.transformer.statistics import LandmarkStatistics
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step


@final
class LandmarkTransformerObjective(Objective[FrameBatch]):
    """Mean squared error of the standardized coefficients of expressions whose clip's identity is known.

    Small data sets show few people, whom the disentangler would overfit. So expressions are put on other faces: those
    of another sample's clip, or, for a photo or a frame of an unknown clip, the sample's whole offset from the mean.

    Args:
        config: network, augmentation.
        statistics: from `fit_statistics`, on the training split.
    """

    clips: Tensor
    identities: Tensor
    mirror: Tensor
    asymmetry: Tensor

    def __init__(self, config: LandmarkTransformerObjectiveConfig, statistics: LandmarkStatistics) -> None:
        super().__init__()
        self.config = config
        self.transformer = LandmarkTransformer(config.model, statistics)
        if config.resnet50 is not None:
            image = self.transformer.disentangler.image
            assert isinstance(image, ResNet50Features)
            load_resnet50(image, config.resnet50)
        # Found again by the same fit, so not part of a checkpoint: with many clips they are larger than the network.
        self.register_buffer("clips", torch.from_numpy(statistics.clips), persistent=False)
        self.register_buffer("identities", torch.from_numpy(statistics.identities).float(), persistent=False)
        self.register_buffer("mirror", torch.tensor(self.transformer.points.mirror), persistent=False)
        mean = self.transformer.mean
        self.register_buffer("asymmetry", self._mirrored(mean) - mean, persistent=False)

    @property
    def generator(self) -> nn.Module:
        """The transformer; its disentangler is what learns."""
        return self.transformer

    def generator_step(self, batch: FrameBatch) -> Step:
        """Mean squared error over the samples of known clips; the others only provide faces.

        Random numbers come from PyTorch's generator.
        """
        config, transformer = self.config, self.transformer
        shapes = transformer.points.normalized(batch.mesh_px.detach().cpu().numpy())[1]
        offset = torch.from_numpy(shapes).to(transformer.mean) - transformer.mean
        known, identity = self._identity_of(batch.clip)
        others = torch.where(known[:, None, None], identity, offset)
        chosen = known.nonzero()[:, 0]
        expression = (offset - identity)[chosen]
        faces, images = identity[chosen], batch.images[chosen]

        count, device = len(chosen), offset.device
        other = torch.randint(len(others), (count,), device=device)
        swapped = torch.rand(count, device=device) < config.swap
        faces = torch.where(swapped[:, None, None], others[other], faces)
        flipped = torch.rand(count, device=device) < config.mirror
        expression = torch.where(flipped[:, None, None], self._mirrored(expression), expression)
        faces = torch.where(flipped[:, None, None], self._mirrored(faces) + self.asymmetry, faces)
        seen = faces + expression
        seen = seen + config.noise * torch.randn_like(seen)
        if transformer.disentangler.image is not None:
            images = torch.where(flipped[:, None, None, None], images.flip(3), images)

        found = transformer.disentangler(seen, images)
        target = transformer.coefficients(expression)
        loss = F.mse_loss(found, target, reduction="sum") / max(1, target.numel())
        return Step(loss, {"mse": loss.detach()})

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The transformer."""
        assert isinstance(generator, LandmarkTransformer)
        card = (
            "# Landmark transformer\n\nMarioNETte's (Ha et al. 2020). Expression bases and mean face are part of it.\n"
        )
        return generator.checkpoint(card)

    def _identity_of(self, clip: Int[Tensor, " b"]) -> tuple[Bool[Tensor, " b"], Float[Tensor, "b n 3"]]:
        """Whether each clip was among those of the fit, and its identity."""
        index = torch.searchsorted(self.clips, clip).clamp(max=len(self.clips) - 1)
        return self.clips[index] == clip, self.identities[index]

    def _mirrored(self, shape: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n 3"]:
        mirrored = shape[..., self.mirror, :]
        return torch.cat([-mirrored[..., :1], mirrored[..., 1:]], dim=-1)
