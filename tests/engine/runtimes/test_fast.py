"""The cache, the choice of a runtime, and what is said where one is missing."""

import importlib.util

import pytest
import torch

from reenactor.core import ReenactError, Runtime
from reenactor.engine.runtimes import fast, fast_model
from reenactor.engine.runtimes.runtimes import OnnxRunner, Precision, onnx_providers
from reenactor.models import create_model
from small_models import people, small


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REENACTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def without(monkeypatch, *packages):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else real(name))


@pytest.mark.slow
def test_exports_once_and_mends_what_is_damaged(cache, monkeypatch):
    pytest.importorskip("openvino")
    written = []
    real = fast.export_model
    monkeypatch.setattr(fast, "export_model", lambda *a, **k: written.append(1) or real(*a, **k))
    model = small("oneshot")
    (targets, driver), *_ = people(model, 1)

    def draw():
        with torch.inference_mode():
            ready = fast_model(small("oneshot"), runtime="openvino", precision="fp32")
            return ready.synthesize(ready.encode_target(targets), driver)

    with torch.inference_mode():
        expected = model.synthesize(model.encode_target(targets), driver)
    torch.testing.assert_close(draw(), expected, atol=1e-3, rtol=0)
    draw()
    assert len(written) == 1
    (folder,) = cache.iterdir()
    (folder / "synthesize.bin").write_bytes(b"")
    torch.testing.assert_close(draw(), expected, atol=1e-3, rtol=0)
    assert len(written) == 2
    assert list(cache.iterdir()) == [folder]


def test_the_choice_is_remembered(cache, monkeypatch):
    ready = {Runtime.TORCH: small("oneshot"), Runtime.OPENVINO: small("oneshot")}
    times = {Runtime.TORCH: 3.0, Runtime.OPENVINO: 2.0}
    probed = []

    def ms(model):
        runtime = next(one for one in ready if ready[one] is model)
        probed.append(runtime)
        return times[runtime]

    monkeypatch.setattr(fast, "_candidates", lambda: list(ready))
    monkeypatch.setattr(fast, "_ready", lambda model, runtime, *rest: ready[runtime])
    monkeypatch.setattr(fast, "_ms_per_frame", ms)
    monkeypatch.setattr(fast, "installed", lambda runtime: True)
    assert fast_model(small("oneshot")) is ready[Runtime.OPENVINO]
    times[Runtime.OPENVINO] = 4.0
    assert fast_model(small("oneshot")) is ready[Runtime.OPENVINO]
    assert probed == [Runtime.TORCH, Runtime.OPENVINO]
    # A runtime that is gone is not taken, and another number of threads is another question.
    monkeypatch.setattr(fast, "installed", lambda runtime: runtime is Runtime.TORCH)
    assert fast_model(small("oneshot")) is ready[Runtime.TORCH]
    monkeypatch.setattr(fast, "installed", lambda runtime: True)
    times[Runtime.TORCH] = 9.0
    assert fast_model(small("oneshot"), threads=7) is ready[Runtime.OPENVINO]


def test_missing_runtimes_are_skipped(cache, monkeypatch):
    without(monkeypatch, "openvino", "onnxruntime")
    model = fast_model(small("oneshot"))
    assert model.version.endswith("torch-fp32")
    (targets, driver), *_ = people(model, 3)
    plain = small("oneshot")
    ours, expected = (one.synthesize(one.encode_target(targets), driver) for one in (model, plain))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    with pytest.raises(ReenactError, match=r"pip install 'reenactor\[fast\]'"):
        fast_model(small("oneshot"), runtime="openvino")


def test_keys_follow_the_weights():
    model, other = small("oneshot"), small("oneshot")
    assert fast._key(model) == fast._key(other)
    with torch.no_grad():
        other.generator.decoder.to_rgb.bias[0] += 1
    assert fast._key(model) != fast._key(other)


def test_arguments(cache):
    with pytest.raises(ReenactError, match="the runtime must be one of auto, torch"):
        fast_model(small("oneshot"), runtime="tensorrt")
    with pytest.raises(ReenactError, match="use reenactor export"):
        fast_model(small("oneshot"), precision="int8")


def test_models_without_a_network_come_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("REENACTOR_CACHE", str(tmp_path / "cache"))
    assert fast_model(create_model("warp")).name == "warp"
    assert not (tmp_path / "cache").exists()


def test_onnx_on_a_gpu(tmp_path, monkeypatch):
    both = ["CPUExecutionProvider", "AzureExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    found = onnx_providers(both, Precision.FP16, tmp_path)
    assert [name for name, _ in found] == names
    assert found[0][1]["trt_fp16_enable"] == "1"
    assert found[0][1]["trt_engine_cache_path"] == str(tmp_path)
    assert onnx_providers(both, Precision.FP32, tmp_path)[0][1]["trt_fp16_enable"] == "0"
    assert [name for name, _ in onnx_providers(both[:3], Precision.FP32, tmp_path)] == names[1:]
    assert onnx_providers(both, Precision.INT8, tmp_path) == [("CPUExecutionProvider", {})]


def test_providers_reach_onnx_runtime(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    given = []
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider", "CUDAExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, providers: given.append(providers))
    with pytest.raises(AttributeError):  # what stands in for a session has no outputs
        OnnxRunner(tmp_path / "graph.onnx")
    assert given == [[("CUDAExecutionProvider", {}), ("CPUExecutionProvider", {})]]
