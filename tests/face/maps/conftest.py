"""Faces to draw: a real one, and the mean face turned, scaled and moved."""

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from reenactor.face.geometry import face_crop, matrix_from_angles, mean_face
from reenactor.face.perception import FaceFinder


def _posed(yaw=0.0, pitch=0.0, roll=0.0, *, scale=40.0, at=(64.0, 60.0)):
    """(478, 3) float64: the mean face; its outer eye corners are `scale` pixels apart when it looks straight."""
    return mean_face().points @ matrix_from_angles(np.array([yaw, pitch, roll])).T * scale + [*at, 0.0]


@pytest.fixture(scope="session")
def astronaut_mesh():
    """(478, 3) float32: a real face in a crop of 128 pixels."""
    with FaceFinder() as finder:
        mesh = finder.observe(astronaut()).landmarks.mesh
    return face_crop(mesh, size=128).to_crop(mesh)


@pytest.fixture(scope="session")
def faces(astronaut_mesh):
    """(6, 478, 3) float64: the real face; mean faces: straight, turned, tilted, half outside, filling the picture."""
    meshes = [
        astronaut_mesh.astype(np.float64),
        _posed(),
        _posed(yaw=35.3, pitch=-12.1),
        _posed(roll=-50.7, pitch=20.2, scale=55),
        _posed(yaw=-15.2, at=(5.3, 120.8)),
        _posed(yaw=4.7, scale=83, at=(60.1, 66.6)),
    ]
    return torch.tensor(np.stack(meshes))


@pytest.fixture(scope="session")
def posed():
    """Function that makes a mean face with a pose, a size and a position."""
    return _posed
