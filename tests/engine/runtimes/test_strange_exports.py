"""Exports of strangers: export.json of any shape, names that lead elsewhere, graphs that are none."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenactor.core import CheckpointError
from reenactor.core.files import sha256
from reenactor.engine.runtimes import load_exported
from reenactor.engine.runtimes.shape_encoder import load_shape_encoder
from reenactor.models.graphs import ENCODE, SYNTHESIZE
from reenactor.models.hybrid import Hybrid
from small_models import small

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with an export.json that fits it, whose graph is none."""
    folder = tmp_path_factory.mktemp("export") / "export"
    folder.mkdir()
    (folder / "graph.xml").write_text("no graph")
    part = {"file": "graph.xml", "inputs": {}, "outputs": ["image"]}
    return folder, {
        **{"format": "reenactor-export", "version": 1, "model": "hybrid"},
        "model_version": f"{Hybrid.version}-0123456789ab",
        **{"graph_format": "openvino", "precision": "fp32", "checkpoint": ""},
        "config": small("hybrid").config.model_dump(mode="json"),
        "graphs": {ENCODE: part, SYNTHESIZE: dict(part)},
        "files": {"graph.xml": sha256(folder / "graph.xml")},
    }


def refusal(folder, description, load=load_exported):
    (folder / "export.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def paths(value, before=()):
    yield before
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from paths(inner, (*before, key))


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_gives_a_sentence(data, whole):
    folder, description = whole
    *way, last = data.draw(st.sampled_from([one for one in paths(description) if one]))
    strange = copy.deepcopy(description)
    inner = strange
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = data.draw(JSON)
    refusal(folder, strange)
    refusal(folder, {**strange, "model": "shape-encoder"}, load_shape_encoder)


@pytest.mark.parametrize("name", ["../outside.xml", "/etc/passwd", "sub/graph.xml", "graph.xml\n", ".."])
@pytest.mark.parametrize("where", ["files", "graphs"])
def test_names_stay_in_the_folder(where, name, whole):
    folder, description = whole
    (folder.parent / "outside.xml").write_text("outside")
    strange = copy.deepcopy(description)
    strange["files"][name if where == "files" else "graph.xml"] = sha256(folder.parent / "outside.xml")
    if where == "graphs":
        strange["files"] = description["files"]
        strange["graphs"][ENCODE]["file"] = name
    assert "does not say what the export holds" in refusal(folder, strange)


def test_the_graph_of_another_release(whole):
    folder, description = whole
    # 2: of the network that had the name before.
    assert "of another release; export again" in refusal(folder, description | {"model_version": "2-0123456789ab"})


def test_a_graph_without_a_digest(whole):
    folder, description = whole
    (folder / "other.xml").write_text("unknown")
    strange = copy.deepcopy(description)
    strange["graphs"][ENCODE]["file"] = "other.xml"
    assert "lists no SHA-256 of other.xml" in refusal(folder, strange)


def test_a_graph_that_is_none(whole):
    pytest.importorskip("openvino")
    folder, description = whole
    assert "openvino cannot read" in refusal(folder, description)


def test_a_graph_that_is_missing(whole):
    folder, description = whole
    assert "lacks the graph 'encode_target'" in refusal(folder, {**description, "graphs": {}})
