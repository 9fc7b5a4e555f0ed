"""A real face (the astronaut of scikit-image) as a target of any size, and movements for it."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from reenact.core import DriverFrame, TargetSet
from reenact.geometry import face_crop
from reenact.inference.shipped import demo_photo, shipped_motions
from reenact.media.motion_file import read_motion
from reenact.models import create_model
from reenact.perception import FaceFinder
from reenact.retarget import Retargeter, neutral_frame


@dataclass(frozen=True)
class Person:
    """A picture and its landmarks, to be cropped to any size."""

    picture: np.ndarray
    mesh_px: np.ndarray

    def cut(self, size):
        """The face crop's pixels and its landmarks."""
        crop = face_crop(self.mesh_px, size=size)
        return crop.cut(self.picture), crop.to_crop(self.mesh_px)


def as_targets(*photos):
    """(pixels, landmarks) pairs as a set of targets."""
    images = np.stack([pixels for pixels, _ in photos])
    return TargetSet(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, np.stack([mesh for _, mesh in photos])
    )


def as_pixels(image_m1p1):
    """(3, h, w) in [-1, 1] as (h, w, 3) uint8."""
    return image_m1p1.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.fixture(scope="session")
def finder():
    with FaceFinder() as one:
        yield one


@pytest.fixture(scope="session")
def motions():
    """The shipped motions: meshes (T, 478, 3), and the neutral one."""
    found = {name: read_motion(path).mesh_px for name, path in shipped_motions().items()}
    return {name: (meshes, meshes[neutral_frame(meshes)]) for name, meshes in found.items()}


@pytest.fixture(scope="session")
def open_mouthed(finder):
    """She smiles and shows her upper teeth."""
    picture = demo_photo()
    return Person(picture, finder.observe(picture).landmarks.mesh)


@pytest.fixture(scope="session")
def closed_mouthed(finder, motions, open_mouthed):
    """The same person after a driver who closed the mouth."""
    pixels, mesh = open_mouthed.cut(512)
    meshes, _ = motions["talk"]
    gap = np.linalg.norm(meshes[:, 14] - meshes[:, 13], axis=1)
    wanted = Retargeter(mesh, meshes[gap.argmax()])(meshes[gap.argmin()])
    model = create_model("warp")
    drawn = as_pixels(model.synthesize(model.encode_target(as_targets((pixels, mesh))), DriverFrame(wanted[None]))[0])
    return Person(drawn, finder.observe(drawn).landmarks.mesh)


@pytest.fixture(scope="session")
def people(open_mouthed, closed_mouthed):
    return {"open": open_mouthed, "closed": closed_mouthed}
