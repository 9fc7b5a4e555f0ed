"""Photos into codes and landmarks into pixels, on any device. `stub_gpu` stands in for a GPU."""

import numpy as np
import pytest
import torch

from reenactor.core import DriverFrame, ReenactError
from reenactor.engine import portrait
from reenactor.engine.portrait import Portrait, channels_last, device_of, target_set, torch_device, usual_size
from reenactor.face.geometry import mean_face
from reenactor.models import create_model
from reenactor.models.hybrid import Hybrid, HybridConfig
from small_models import SMALL, small
from stub_gpu import CUDA, on_gpu, stub_gpu

SIZE = 64


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 255, (2, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def meshes():
    """Of two photos, and of three frames."""
    face = (mean_face().points * (SIZE * 0.3) + [SIZE / 2, SIZE / 2, 0]).astype(np.float32)
    return np.stack([face, face + 1]), np.stack([face, face + 2, face * np.float32(1.03)])


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_is_its_frames(name, crops, meshes):
    one = Portrait(small(name), crops, meshes[0])
    together = one.draw(meshes[1])
    assert together.shape == (3, SIZE, SIZE, 3)
    for mesh, drawn in zip(meshes[1], together, strict=True):
        assert np.abs(one.draw(mesh[None])[0].astype(int) - drawn).max() <= 1


@pytest.mark.parametrize("name", SMALL)
def test_a_model_on_a_gpu_gets_everything_there(name, crops, meshes):
    drawn = Portrait(small(name), crops, meshes[0]).draw(meshes[1])
    with stub_gpu():
        model = on_gpu(small(name))
        assert device_of(model) == CUDA
        ours = Portrait(model, crops, meshes[0], exact=True).draw(meshes[1])
    assert np.abs(drawn.astype(int) - ours).max() <= 1


@pytest.mark.parametrize("name", ["hybrid", "marionette"])
def test_a_wrong_placement_fails(name, crops, meshes):
    with stub_gpu():
        model = on_gpu(small(name))
        targets = target_set(model, crops, meshes[0])
        code = model.encode_target(targets)
        left_behind = {kind: one.cpu()[:1] for kind, one in targets.maps.items()}
        with pytest.raises(RuntimeError, match="pretended GPU"):
            model.synthesize(code, DriverFrame(meshes[1][:1], left_behind))


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_and_channels_last_draw_nearly_the_same(name, crops, meshes, monkeypatch):
    """As a GPU computes, on the CPU."""
    drawn = Portrait(small(name), crops, meshes[0]).draw(meshes[1])
    monkeypatch.setattr(portrait, "half_precision", lambda device: torch.autocast(device.type, torch.bfloat16))
    lowered = Portrait(channels_last(small(name)), crops, meshes[0]).draw(meshes[1])
    assert np.abs(drawn.astype(float) - lowered).mean() < 2
    assert (drawn != lowered).any()


def test_devices_are_found_or_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert torch_device("auto") == torch_device("cpu") == torch.device("cpu")
    with pytest.raises(ReenactError, match="no GPU for the device cuda"):
        torch_device("cuda")
    with pytest.raises(ReenactError, match="no Apple GPU"):
        torch_device("mps")
    with pytest.raises(ReenactError, match="must be auto, cpu, cuda"):
        torch_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("auto") == torch.device("cuda")
    assert torch_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ReenactError, match="no device cuda:2, the GPUs are 0 to 1"):
        torch_device("cuda:2")


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (create_model("warp"), 256),
        (small("marionette"), 64),
        (small("hybrid"), 256),
        (Hybrid(HybridConfig(resolution=512, base_width=16)), 512),
    ],
)
def test_usual_sizes(model, size):
    assert usual_size(model) == size


def test_a_model_without_weights_stays_on_the_cpu():
    assert device_of(create_model("warp")) == torch.device("cpu")
