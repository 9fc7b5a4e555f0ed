"""VGG networks against plain stacks of layers, and weights from files and downloads."""

import os
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from skimage import data
from torch import nn

from reenactor.core import CheckpointError
from reenactor.core.files import sha256
from reenactor.nn.checkpoint import Checkpoint, write_checkpoint
from reenactor.nn.losses import (
    VGG16_IMAGENET,
    VGG19_IMAGENET,
    FeatureNetworkConfig,
    PretrainedVgg,
    RandomVgg,
    TrainedFeatures,
    build_features,
    perceptual_loss,
)
from reenactor.nn.losses.vgg import IMAGENET, VGG16, VGG19, VggFeatures

STACKS = {
    "vgg16": [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512],
    "vgg19": [64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512],
}
"""Channels of each 3x3 convolution, 0 for a pooling (Simonyan and Zisserman 2015, table 1, D and E)."""
FIRST = {"vgg19": (1, 6, 11, 20, 29), "vgg16": (1, 6, 11, 18, 25)}
"""Places of relu1_1 to relu5_1 in torchvision's `features`, as style transfer codes list them (convolutions + 1)."""
JOHNSON = (3, 8, 15, 22)
"""relu1_2, relu2_2, relu3_3, relu4_3 of VGG16, the slices' last layers in PyTorch's fast_neural_style example."""


def stack(kind, seed=0):
    """The layers one after the other, with small random weights."""
    layers, channels_in = nn.Sequential(), 3
    for channels in STACKS[kind]:
        if channels == 0:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(channels_in, channels, 3, padding=1))
        layers.append(nn.ReLU())
        channels_in = channels
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layers.parameters():
            p.normal_(0, (2 / max(1, p[0].numel())) ** 0.5 if p.dim() == 4 else 0.1, generator=generator)
    return layers.requires_grad_(False)


def outputs(layers, x, places):
    found = []
    for place, layer in enumerate(layers):
        x = layer(x)
        if place in places:
            found.append(x)
    return found


def renamed(layers, template):
    """The weights under names like conv1_1."""
    state, block, i = {}, 1, 0
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            block, i = block + 1, 0
        elif isinstance(layer, nn.Conv2d):
            i += 1
            name = template.format(block=block, i=i)
            state |= {f"{name}.weight": layer.weight.data, f"{name}.bias": layer.bias.data}
    return state


def saved(path, state):
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def stacks():
    return {kind: stack(kind) for kind in STACKS}


@pytest.fixture(scope="module")
def files(stacks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        kind: saved(folder / f"{kind}.pth", {f"features.{name}": p.data for name, p in layers.state_dict().items()})
        for kind, layers in stacks.items()
    }


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reenactor"


@pytest.fixture(scope="module")
def picture():
    """A real face, (1, 3, 64, 64) in [-1, 1]."""
    face = torch.from_numpy(data.astronaut()[:256, 96:352].astype(np.float32)).permute(2, 0, 1)[None]
    return F.avg_pool2d(face, 4) / 127.5 - 1


# What the networks are.


def test_parameters_of_all_convolutions():
    """20,024,384 and 14,714,688, as the literature has them."""
    counts = [
        sum(p.numel() for p in VggFeatures(convolutions, [last], scale=IMAGENET).parameters())
        for convolutions, last in ((VGG19, "relu5_4"), (VGG16, "relu5_3"))
    ]
    assert counts == [20_024_384, 14_714_688]


@pytest.mark.parametrize("kind", ["vgg19", "vgg16"])
def test_equals_a_stack_of_layers_after_torchvisions_normalization(stacks, files, picture, kind):
    network = build_features(PretrainedVgg(kind=kind, path=files[kind]))
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    places = FIRST["vgg19"] if kind == "vgg19" else JOHNSON
    expected = outputs(stacks[kind], ((picture + 1) / 2 - mean) / std, places)
    maps = network(picture)
    assert len(maps) == len(places)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_vgg_face_reads_0_to_255_less_the_mean_face(stacks, files, picture):
    network = build_features(PretrainedVgg(kind="vgg-face", path=files["vgg16"]))
    mean = torch.tensor([129.1863, 104.7624, 93.5940])[:, None, None]
    expected = outputs(stacks["vgg16"], (picture + 1) * 127.5 - mean, FIRST["vgg16"])
    maps = network(picture)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_unknown_and_disordered_taps_are_refused():
    for taps in (["relu6_1"], ["relu2_1", "relu1_1"], [], ["relu1_3"]):
        with pytest.raises(ValueError, match="ReLU"):
            VggFeatures(VGG19, taps, scale=IMAGENET)


def test_frozen_but_gradients_reach_the_picture(files, picture):
    network = build_features(PretrainedVgg(kind="vgg19", path=files["vgg19"]))
    drawn = picture.clone().requires_grad_()
    perceptual_loss(network, drawn, picture.flip(3)).backward()
    assert drawn.grad.abs().max() > 0
    assert not network.training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


def test_mixed_precision(files, picture):
    network = build_features(PretrainedVgg(kind="vgg19", path=files["vgg19"]))
    exact = perceptual_loss(network, picture.flip(3), picture)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = perceptual_loss(network, picture.flip(3), picture)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(exact.item(), rel=0.02)


# Random weights.


def test_random_weights_follow_from_the_seed(picture):
    before = torch.random.get_rng_state()
    first, again, other = (build_features(RandomVgg(width=0.25, seed=seed))(picture) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_random_features_keep_their_size_and_width(picture):
    maps = build_features(RandomVgg(width=0.25))(picture)
    assert [m.shape[1] for m in maps] == [16, 32, 64, 128, 128]
    mean_squares = [m.square().mean().item() for m in maps]
    assert max(mean_squares) < 4 * min(mean_squares)
    assert 0.3 < mean_squares[-1] < 10


def test_random_features_tell_how_far_off_a_picture_is(picture):
    network = build_features(RandomVgg(width=0.25))
    blurred = [F.avg_pool2d(picture, n, 1, n // 2, count_include_pad=False) for n in (3, 5, 9)]
    shifted = [picture.roll(n, 3) for n in (1, 2, 4)]
    for series in (blurred, shifted):
        distances = [perceptual_loss(network, one, picture).item() for one in series]
        assert 0 < distances[0] < distances[1] < distances[2]
    assert perceptual_loss(network, picture, picture) == 0


# Weights from files.


@pytest.mark.parametrize("template", ["conv{block}_{i}", "conv_{block}_{i}"])
def test_vgg_faces_layouts(stacks, files, picture, tmp_path, template):
    expected = build_features(PretrainedVgg(kind="vgg-face", path=files["vgg16"]))(picture)
    # With the classifier that comes with them.
    state = renamed(stacks["vgg16"], template) | {"fc6.weight": torch.zeros(2, 3)}
    network = build_features(PretrainedVgg(kind="vgg-face", path=saved(tmp_path / "face.pth", state)))
    assert all(torch.equal(a, b) for a, b in zip(network(picture), expected, strict=True))


def test_bare_wrapped_and_safetensors(stacks, files, picture, tmp_path):
    expected = build_features(PretrainedVgg(kind="vgg19", path=files["vgg19"]))(picture)
    bare = stacks["vgg19"].state_dict()
    save_file(bare, tmp_path / "bare.safetensors")
    for path in (tmp_path / "bare.safetensors", saved(tmp_path / "wrapped.pth", {"epoch": 3, "state_dict": bare})):
        network = build_features(PretrainedVgg(kind="vgg19", path=path))
        assert all(torch.equal(a, b) for a, b in zip(network(picture), expected, strict=True))


def test_weights_for_blue_first_are_turned_round(stacks, files, picture, tmp_path):
    state = renamed(stacks["vgg16"], "conv{block}_{i}")
    state["conv1_1.weight"] = state["conv1_1.weight"].flip(1)
    path = saved(tmp_path / "bgr.pth", state)
    expected = build_features(PretrainedVgg(kind="vgg-face", path=files["vgg16"]))(picture)
    turned = build_features(PretrainedVgg(kind="vgg-face", path=path, bgr=True))(picture)
    left = build_features(PretrainedVgg(kind="vgg-face", path=path))(picture)
    assert all(torch.equal(a, b) for a, b in zip(turned, expected, strict=True))
    assert not torch.allclose(left[0], expected[0])


def test_other_networks_weights_are_refused(files, tmp_path):
    with pytest.raises(CheckpointError, match="another network"):
        build_features(PretrainedVgg(kind="vgg16", path=files["vgg19"]))
    missing = {"features.0.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(CheckpointError, match=r"features\.0\.bias is missing"):
        build_features(PretrainedVgg(kind="vgg19", path=saved(tmp_path / "missing.pth", missing)))
    with pytest.raises(CheckpointError, match="no weights of a VGG"):
        build_features(PretrainedVgg(kind="vgg19", path=saved(tmp_path / "other.pth", {"stem": torch.zeros(3)})))
    with pytest.raises(CheckpointError, match="no state dict"):
        build_features(PretrainedVgg(kind="vgg19", path=saved(tmp_path / "list.pth", [torch.zeros(3)])))


class Mischief:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_but_tensors_is_unpickled(tmp_path):
    state = {"features.0.weight": Mischief(tmp_path / "made")}
    with pytest.raises(CheckpointError, match=r"mischief\.pth"):
        build_features(PretrainedVgg(kind="vgg19", path=saved(tmp_path / "mischief.pth", state)))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(CheckpointError, match=r"plain\.pkl"):
        build_features(PretrainedVgg(kind="vgg19", path=tmp_path / "plain.pkl"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["damaged.pth", "damaged.safetensors", "empty.pth", "empty.safetensors"])
def test_damaged_files_are_refused(files, tmp_path, name):
    (tmp_path / name).write_bytes(files["vgg19"].read_bytes()[:100_000] if name.startswith("damaged") else b"")
    with pytest.raises(CheckpointError, match="cannot read"):
        build_features(PretrainedVgg(kind="vgg19", path=tmp_path / name))


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_missing_files_are_refused(tmp_path, digest):
    with pytest.raises(CheckpointError, match="there are no weights at"):
        build_features(PretrainedVgg(kind="vgg19", path=tmp_path / "none.pth", sha256=digest))


def test_a_files_digest_is_checked(files):
    good = sha256(files["vgg16"])
    build_features(PretrainedVgg(kind="vgg16", path=files["vgg16"], sha256=good))
    with pytest.raises(CheckpointError, match="SHA-256"):
        build_features(PretrainedVgg(kind="vgg16", path=files["vgg16"], sha256="0" * 64))


def test_a_network_from_a_url(cache, files, picture):
    config = PretrainedVgg(kind="vgg16", url=files["vgg16"].as_uri(), sha256=sha256(files["vgg16"]))
    expected = build_features(PretrainedVgg(kind="vgg16", path=files["vgg16"]))(picture)
    assert all(torch.equal(a, b) for a, b in zip(build_features(config)(picture), expected, strict=True))


# Settings.


def test_settings_are_told_apart_by_kind():
    read = TypeAdapter(FeatureNetworkConfig).validate_python
    assert read({"kind": "random-vgg", "width": 0.5}) == RandomVgg(width=0.5)
    assert read({"kind": "vgg-face", "path": "x.pth"}) == PretrainedVgg(kind="vgg-face", path="x.pth")
    assert read({"kind": "checkpoint", "folder": "x"}) == TrainedFeatures(folder="x")
    assert read(VGG19_IMAGENET.model_dump(mode="json")) == VGG19_IMAGENET


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "vgg11", "path": "x"},
        {"kind": "vgg19"},
        {"kind": "vgg19", "path": "x", "url": "https://x", "sha256": "0" * 64},
        {"kind": "vgg19", "url": "https://x"},
        {"kind": "vgg19", "path": "x", "sha256": "0" * 63},
        {"kind": "random-vgg", "width": 0},
        {"kind": "random-vgg", "path": "x"},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(FeatureNetworkConfig).validate_python(wrong)


def test_known_downloads_carry_their_digests_beginning():
    # torchvision names its files after the first eight digits.
    for config in (VGG19_IMAGENET, VGG16_IMAGENET):
        assert config.url.startswith(f"https://download.pytorch.org/models/{config.kind}-{config.sha256[:8]}.pth")


class Gray(nn.Module):
    def __init__(self, checkpoint):
        super().__init__()
        self.weights = checkpoint.tensors["weights"]

    def forward(self, image):
        return (torch.einsum("c,bchw->bhw", self.weights, image)[:, None],)


def test_networks_of_our_own(tmp_path, picture):
    write_checkpoint(tmp_path / "own", Checkpoint("gray", {}, {"weights": torch.tensor([0.2, 0.5, 0.3])}))
    config = TrainedFeatures(folder=tmp_path / "own")
    (gray,) = build_features(config, {"gray": Gray})(picture)
    torch.testing.assert_close(gray[0, 0], 0.2 * picture[0, 0] + 0.5 * picture[0, 1] + 0.3 * picture[0, 2])
    with pytest.raises(CheckpointError, match="'gray'"):
        build_features(config)
    with pytest.raises(CheckpointError, match="holds no weights"):
        build_features(TrainedFeatures(folder=tmp_path))
