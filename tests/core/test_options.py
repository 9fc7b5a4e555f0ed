import dataclasses
import json

import pytest

from reenactor.core import Background, Head, Layout, Options, ReenactError, Runtime, Transfer, head_with


def test_strings_become_enums():
    options = Options(transfer="absolute", layout="grid", background="moving", runtime="auto", weights="folder")
    assert (options.transfer, options.layout) == (Transfer.ABSOLUTE, Layout.GRID)
    assert (options.background, options.runtime) == (Background.MOVING, Runtime.AUTO)
    assert options.weights is not None
    assert options.weights.name == "folder"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"transfer": "sideways"}, "the transfer must be one of parts, relative, absolute, transformer, not sideways"),
        ({"layout": "round"}, "the layout must be one of photo, crop, grid, not round"),
        ({"background": "blue"}, "the background must be one of still, moving, not blue"),
        ({"runtime": "abacus"}, "the runtime must be one of auto, torch, onnxruntime, openvino, not abacus"),
        ({"size": 100}, "a multiple of 32 from 64 to 2048, not 100"),
        ({"size": 4096}, "not 4096"),
        ({"max_side": 8}, "at least 64 pixels, not 8"),
        ({"face": 0}, "counted from 1"),
        ({"driver_face": -1}, "counted from 1"),
        ({"device": "tpu"}, "the device must be auto, cpu, cuda, cuda:N or mps, not tpu"),
        ({"device": "cuda:x"}, "not cuda:x"),
        ({"head": "upside down"}, "the head must be one of relative, absolute, not upside down"),
        ({"transfer": "absolute", "head": "relative"}, "takes the driver's head angles; leave out the head"),
        ({"transfer": "relative", "transformer": "folder"}, "goes with the transfer 'transformer'"),
    ],
)
def test_wrong_values_are_refused_with_one_sentence(given, sentence):
    with pytest.raises(ReenactError, match=sentence):
        Options(**given)


def test_the_heads_usual_movement_depends_on_the_transfer():
    assert [head_with(one, None) for one in Transfer] == [Head.RELATIVE, Head.RELATIVE, Head.ABSOLUTE, Head.RELATIVE]
    assert all(head_with(one, Head.ABSOLUTE) is Head.ABSOLUTE for one in (None, *Transfer))
    assert Options(transfer="transformer", head="absolute").head is Head.ABSOLUTE


def test_the_expression_is_kept_by_parts_alone():
    assert Options(keep_expression=True).keep_expression
    assert Options(keep_expression=True, transfer="parts").keep_expression
    with pytest.raises(ReenactError, match="goes with the transfer 'parts'"):
        Options(keep_expression=True, transfer="relative")


@pytest.mark.parametrize("amount", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_head_moves_by_a_part(amount):
    assert Options(head_movement=0.0).head_movement == 0
    with pytest.raises(ReenactError, match="from 0"):
        Options(head_movement=amount)
    for absolute in ({"head": "absolute"}, {"transfer": "absolute"}):
        with pytest.raises(ReenactError, match="absolute angles"):
            Options(head_movement=0.5, **absolute)


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
def test_strength_is_bounded(strength):
    assert Options(strength=2.0).strength == 2
    with pytest.raises(ReenactError, match="from 0 to 2"):
        Options(strength=strength)


def test_enums_read_as_their_values_everywhere():
    assert f"{Transfer.RELATIVE}" == str(Transfer.RELATIVE) == "relative"
    assert json.loads(json.dumps(dataclasses.asdict(Options())))["layout"] == "photo"
