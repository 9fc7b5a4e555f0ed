"""Likeness in the discriminator's eyes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.nn.losses.pixel import weighted_l1


def feature_matching(
    fake: Sequence[Float[Tensor, "b _ _ _"]], real: Sequence[Float[Tensor, "b _ _ _"]]
) -> Float[Tensor, ""]:
    """Sum over layers of the mean L1 distance of a discriminator's features (paper B, L_FM; Wang et al. 2018).

    Args:
        fake: each layer's features of the drawn picture.
        real: of the true one; no gradient goes there.
    """
    return torch.stack([weighted_l1(f, r.detach()) for f, r in zip(fake, real, strict=True)]).sum()
