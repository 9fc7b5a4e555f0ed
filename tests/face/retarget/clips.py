"""Synthetic clips of several people, with many independent movements, in any pose."""

import numpy as np
from faces import shape

from factories import posed
from reenactor.core import FrameBatch
from reenactor.face.geometry import mean_face


def clips(count=4, lengths=(60, 90, 40, 75), seed=0):
    """[(number, (T, 478, 3) pixels)]; numbers are not in order and have gaps."""
    rng = np.random.default_rng(seed)
    waves = _waves(40)
    found = []
    for i in range(count):
        frames = []
        for _ in range(lengths[i % len(lengths)]):
            face = shape(
                seed=i,
                opening=rng.uniform(0, 0.15),
                eyes=tuple(rng.uniform(0.2, 1.2, 2)),
                smile=rng.uniform(-0.03, 0.06),
                brows=rng.uniform(-0.02, 0.04),
                gaze=rng.uniform(-0.03, 0.03),
            )
            face += np.einsum("w,wnd->nd", rng.normal(0, 0.002, len(waves)), waves)
            angles = rng.uniform(-15, 15, 3)
            frames.append(posed(face, angles_deg=angles, scale=rng.uniform(50, 90), at=rng.uniform(90, 150, 2)))
        found.append((100 - 7 * i, np.stack(frames)))
    return found


def batch_of(numbers, meshes, *, size=0):
    """A batch without identities; pictures of noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return FrameBatch(
        images=torch.rand((len(meshes), 3, size, size), generator=generator) * 2 - 1,
        mesh_px=torch.from_numpy(np.asarray(meshes, np.float32)),
        identity=torch.zeros(len(meshes), dtype=torch.long),
        clip=torch.tensor(numbers),
    )


def _waves(count):
    """Smooth displacement fields, so that every part of the face moves in many ways."""
    rng = np.random.default_rng(99)
    points = mean_face().points
    phases = points @ rng.normal(0, 8, (count, 3)).T + rng.uniform(0, 6, count)
    return np.sin(phases).T[:, :, None] * rng.normal(0, 1, (count, 1, 3))
