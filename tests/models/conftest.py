"""A real face (the astronaut of scikit-image) as a target of any size, and movements for it."""

import numpy as np
import pytest
from model_helpers import LIPS, Person, as_pixels, as_targets, gap

from reenactor.core import DriverFrame
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.face.perception import FaceFinder
from reenactor.face.retarget import Retargeter, neutral_frame
from reenactor.media.motion_file import read_motion
from reenactor.models import create_model


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
    opening = [gap(mesh, LIPS) for mesh in meshes]
    wanted = Retargeter(mesh, meshes[np.argmax(opening)])(meshes[np.argmin(opening)])
    model = create_model("warp")
    drawn = as_pixels(model.synthesize(model.encode_target(as_targets((pixels, mesh))), DriverFrame(wanted[None]))[0])
    return Person(drawn, finder.observe(drawn).landmarks.mesh)


@pytest.fixture(scope="session")
def people(open_mouthed, closed_mouthed):
    return {"open": open_mouthed, "closed": closed_mouthed}
