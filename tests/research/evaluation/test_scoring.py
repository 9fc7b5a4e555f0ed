"""Both passes on a real pack: copies are the ceiling and the floor, caches are used, and refused when stale."""

import hashlib
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from reenactor.core import Background, Head, ReenactError, Transfer
from reenactor.face.geometry import head_angles, matrix_from_angles
from reenactor.face.geometry.contours import INNER_LIPS_LOWER as LOWER
from reenactor.face.geometry.contours import INNER_LIPS_UPPER as UPPER
from reenactor.face.retarget.transformer import LandmarkTransformer, LandmarkTransformerConfig
from reenactor.media import read_image, write_image
from reenactor.models.oneshot import FEATURE_READERS, ShapeEncoder, ShapeEncoderConfig
from reenactor.nn.checkpoint import Checkpoint, write_checkpoint
from reenactor.nn.losses import TrainedFeatures, build_features
from reenactor.research.data import ShardReader, Split
from reenactor.research.evaluation import (
    RESULTS,
    SCORES,
    Better,
    Entry,
    Packs,
    Protocol,
    choose_cases,
    export,
    export_inputs,
    measure_all,
    open_predictions,
    read_results,
    score_folders,
    write_results,
)
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.judges import JudgeConfig, Judges, face_features
from reenactor.research.evaluation.measurements import COMPARISON
from reenactor.research.evaluation.scores import Ideal
from reenactor.research.evaluation.scoring import FEATURE_DISTANCE

PROTOCOLS = [Protocol.SELF, Protocol.DIFFERENT, Protocol.SAME_SOURCE]


@pytest.fixture(scope="module", params=PROTOCOLS, ids=lambda p: p.value)
def scored(request, cases_of, packs, copies, tmp_path_factory):
    """The warp, and both copies written into folders as another tool would."""
    folder = tmp_path_factory.mktemp("scored")
    cases = cases_of(request.param, size=128)
    drawn = [
        export(packs, cases, Entry("warp"), folder / "warp"),
        *(open_predictions(copies(folder / f"{side} files", cases, side)) for side in ("driver", "target")),
    ]
    return measure_all(drawn, packs, folder / "cache")


@pytest.fixture(scope="module")
def results(scored):
    return list(scored.results())


@pytest.fixture(scope="module")
def plain(results):
    return {(one.score, one.method): one for one in results if one.against is None}


def test_every_method_has_every_score(scored, plain):
    names = [
        name for name, score in SCORES.items() if score.applies(scored.cases.protocol) and name != FEATURE_DISTANCE
    ]
    assert len(names) == (23 if scored.cases.protocol is Protocol.SELF else 9)
    assert set(plain) == {(name, method) for name in names for method in scored.scenes}
    assert all(one.metric == f"{one.score}_{scored.cases.name}" for one in plain.values())
    assert all(one.failures == 0 for one in plain.values())
    # Ten cases of this pack hold no head that turns far, and hardly a blink.
    assert all((one.value is None) == (one.counted == 0) for one in plain.values())
    assert {one.score for one in plain.values() if one.value is None} <= {
        "silhouette_error_turned",
        "mouth_psnr_opening",
        "mouth_psnr_closing",
        "inside_contrast",
        "inside_bright",
        "kid_mouth_opening",
        "lids_left",
    }


def test_files_score_as_the_frames_they_copy(plain):
    for (score, method), one in plain.items():
        copy = {"driver files": DRIVER_COPY, "target files": TARGET_COPY}.get(method)
        # A file is taken to show the target, whose face is at rest in another way than the driver's.
        if copy and not (copy == DRIVER_COPY and score in ("aucon", "au_percent") and one.protocol != "self"):
            theirs = plain[score, copy]
            assert (one.value, one.low, one.high) == (theirs.value, theirs.low, theirs.high), score


def badness(score, value):
    better = SCORES[score].better
    return {Better.HIGHER: -value, Better.LOWER: value, Better.NEAR_ONE: abs(value - 1), Better.NEAR_ZERO: abs(value)}[
        better
    ]


def test_copies_are_ceiling_and_floor(scored, plain):
    truth = scored.cases.protocol is Protocol.SELF
    best = {"psnr": 100, "m_psnr": 100, "mouth_psnr": 100, "au_percent": 100, "id_percent": 100}
    best["mouth_psnr_opening"] = 100
    for score in {name for name, _ in plain if plain[name, "warp"].value is not None}:
        perfect, floor = DRIVER_COPY, TARGET_COPY
        if not truth and SCORES[score].ideal is Ideal.TARGET:
            perfect, floor = floor, perfect
        ideal = best.get(score, 0 if SCORES[score].better in (Better.LOWER, Better.NEAR_ZERO) else 1)
        if score.startswith("kid"):
            # Without bias; of two equal collections, whose pictures are their own nearest neighbours, a little below 0.
            assert plain[score, perfect].value < 0
            continue
        assert plain[score, perfect].value == pytest.approx(ideal, abs=1e-6), score
        low = badness(score, plain[score, floor].value)
        # Everyone in this pack is the same woman, so no copy is nobody's likeness.
        assert low > badness(score, plain[score, perfect].value) or score == "id_percent", score


def test_the_warp_lies_between(scored, plain):
    # Elsewhere the warp keeps the photo's own pose; and of two copies of one woman either may look more like her.
    with_truth = ("csim", "aucon", "ssim", "m_ssim", "psnr", "m_psnr", "mouth_psnr", "prmse", "pose_mae", "nme")
    for score in ("au_percent", *(with_truth if scored.cases.protocol is Protocol.SELF else ())):
        perfect, warp, floor = (badness(score, plain[score, m].value) for m in (DRIVER_COPY, "warp", TARGET_COPY))
        assert perfect < warp < floor, score


def test_differences_are_paired(results, plain):
    pairs = [one for one in results if one.against is not None]
    assert {(one.method, one.against) for one in pairs} >= {("warp", TARGET_COPY)}
    assert not any(DRIVER_COPY in (one.method, one.against) for one in pairs)
    for one in pairs:
        # One is no mean; of gazes each side leaves out other frames (closed eyes).
        if one.score not in ("prmse", "gaze_error") and one.value is not None:
            wanted = plain[one.score, one.method].value - plain[one.score, one.against].value
            assert one.value == pytest.approx(wanted, abs=2e-4 * max(1, abs(wanted))), one.metric


def test_aucon_stands_between_chance_and_ceiling(plain):
    one = plain["aucon", "warp"]
    assert 0.4 < one.chance < 0.95
    assert 0.7 < one.ceiling <= 1
    assert plain["csim", "warp"].chance is None


def test_results_as_json_lines(results, tmp_path):
    write_results(tmp_path / "r.jsonl", results)
    assert read_results(tmp_path / "r.jsonl") == results
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert all(not isinstance(v, float) or math.isfinite(v) for line in lines for v in line.values())
    warp = next(line for line in lines if line["method"] == "warp")
    assert warp["version"] == "1"
    assert warp["config"]["map_size"] > 0
    assert warp["transfer"] == ("truth" if warp["protocol"] == "self" else "parts")


@pytest.fixture
def few(cases_of):
    return cases_of(Protocol.SELF, count=3, size=128)


def no_measuring(*args):
    raise AssertionError("a picture was measured again")


class TestCache:
    def test_second_scoring_measures_nothing(self, few, packs, tmp_path, monkeypatch):
        export(packs, few, Entry("warp"), tmp_path / "warp")
        first = score_folders([tmp_path / "warp"], tmp_path / "out", figures=False)
        monkeypatch.setattr(Judges, "mesh", no_measuring)
        assert score_folders([tmp_path / "warp"], tmp_path / "out", figures=False) == first
        assert read_results(tmp_path / "out" / RESULTS) == first

    def test_only_a_changed_picture_is_measured_again(self, few, packs, tmp_path, monkeypatch):
        made = export(packs, few, Entry("warp"), tmp_path / "warp")
        before = score_folders([tmp_path / "warp"], tmp_path / "out", figures=False)
        path = made.path(few.cases[0])
        darker = (read_image(path) * 0.5).astype(np.uint8)
        path.unlink()
        write_image(path.with_suffix(".png"), darker)
        read = []
        plain_mesh = Judges.mesh
        monkeypatch.setattr(Judges, "mesh", lambda self, picture: read.append(1) or plain_mesh(self, picture))
        after = score_folders([tmp_path / "warp"], tmp_path / "out", figures=False)
        assert len(read) == 1
        psnr = [
            next(r.value for r in some if (r.score, r.method, r.against) == ("psnr", "warp", None))
            for some in (before, after)
        ]
        assert psnr[1] < psnr[0]

    def test_damaged_cache_is_measured_again(self, few, packs, tmp_path):
        export(packs, few, Entry("warp"), tmp_path / "warp")
        first = score_folders([tmp_path / "warp"], tmp_path / "out", figures=False)
        for path in (tmp_path / "warp" / "measurements.npz", *(tmp_path / "out" / "cache").glob("*.npz")):
            path.write_bytes(path.read_bytes()[:1000])
        assert score_folders([tmp_path / "warp"], tmp_path / "out", figures=False) == first


class TestExport:
    def test_goes_on_where_it_stopped(self, few, packs, tmp_path):
        made = export(packs, few, Entry("warp"), tmp_path)
        whole = {one.id: made.path(one).read_bytes() for one in few.cases}
        made.path(few.cases[1]).unlink()
        kept = made.path(few.cases[0])
        kept.write_bytes(b"kept as it is")
        export(packs, few, Entry("warp"), tmp_path)
        assert kept.read_bytes() == b"kept as it is"
        assert made.path(few.cases[1]).read_bytes() == whole[few.cases[1].id]

    def test_names_say_what_is_unusual(self):
        assert Entry("warp").title(Protocol.DIFFERENT) == "warp"
        assert Entry("warp", transfer=Transfer.TRANSFORMER).title(Protocol.SELF) == "warp"
        both = Entry("warp", transfer=Transfer.TRANSFORMER, background=Background.STILL)
        assert both.title(Protocol.DIFFERENT) == "warp (transformer, still background)"
        assert replace(both, name="other").title(Protocol.DIFFERENT) == "other (still background)"
        turned = Entry("warp", transfer=Transfer.TRANSFORMER, head=Head.ABSOLUTE)
        assert turned.title(Protocol.DIFFERENT) == "warp (transformer, absolute head)"
        assert replace(turned, transfer=Transfer.ABSOLUTE).title(Protocol.DIFFERENT) == "warp (absolute)"
        assert replace(turned, name="other").title(Protocol.SELF) == "other"
        with pytest.raises(ReenactError, match="leave out the head 'relative'"):
            Entry("warp", transfer=Transfer.ABSOLUTE, head=Head.RELATIVE)

    def test_another_method_or_other_sets_are_refused(self, few, cases_of, packs, tmp_path):
        export(packs, few, Entry("warp"), tmp_path)
        with pytest.raises(ReenactError, match="holds pictures of 'warp'"):
            export(packs, few, Entry("warp", name="another"), tmp_path)
        with pytest.raises(ReenactError, match="holds pictures of other cases"):
            export(packs, cases_of(Protocol.SELF, count=3, seed=9, size=128), Entry("warp"), tmp_path)

    def test_neighbours_do_not_matter(self, few, cases_of, packs, tmp_path):
        more = cases_of(Protocol.SELF, count=6, size=128)
        a = export(packs, few, Entry("warp"), tmp_path / "a")
        b = export(packs, more, Entry("warp"), tmp_path / "b")
        assert all(a.path(one).read_bytes() == b.path(one).read_bytes() for one in few.cases)

    @pytest.mark.parametrize("transfer", list(Transfer))
    def test_transfer_to_another_person(self, transfer, cases_of, packs, tmp_path):
        cases = cases_of(Protocol.DIFFERENT, count=2, size=128)
        made = export(packs, cases, Entry("warp", transfer=transfer), tmp_path)
        assert read_image(made.path(cases[0])).shape == (128, 128, 3)
        assert made.method.transfer == transfer.value
        assert made.method.name == ("warp" if transfer is Transfer.PARTS else f"warp ({transfer.value})")

    def test_the_head_may_have_the_drivers_angles(self, cases_of, packs, tmp_path):
        cases = cases_of(Protocol.DIFFERENT, count=2, size=128)
        entries = [Entry("warp", transfer=Transfer.TRANSFORMER, head=head) for head in Head]
        for entry, head in zip(entries, Head, strict=True):
            meshes = entry.landmarks(packs, 128, cases.protocol)(cases.cases)
            drivers = np.stack([packs.driver.mesh(case.driver, 128) for case in cases.cases])
            apart = np.abs(head_angles(meshes) - head_angles(drivers)).max()
            assert (apart < 4) == (head is Head.ABSOLUTE)
            assert export(packs, cases, entry, tmp_path / head).method.config.get("head") == (
                "absolute" if head is Head.ABSOLUTE else None
            )
        with pytest.raises(ReenactError, match="holds pictures of"):
            export(packs, cases, replace(entries[0], name="warp"), tmp_path / "absolute")

    def test_a_transformer_sees_the_crops_of_training(self, cases_of, packs, tmp_path, monkeypatch):
        """At the size that it was trained with, whatever the model draws at; 68 points become the whole mesh."""
        torch.manual_seed(0)
        made = LandmarkTransformer(LandmarkTransformerConfig(points="ibug68", image="resnet50", image_size=64))
        made.mean.copy_(torch.from_numpy(made.points.mean))
        write_checkpoint(tmp_path, made.checkpoint())
        seen = []
        split = LandmarkTransformer._split
        monkeypatch.setattr(LandmarkTransformer, "_split", lambda *args: seen.append(args[2]) or split(*args))
        cases = cases_of(Protocol.DIFFERENT, count=2, k=2, size=128)
        entry = Entry("warp", transfer=Transfer.TRANSFORMER, transformer=tmp_path)
        assert entry.landmarks(packs, 128, cases.protocol)(cases.cases[:1]).shape == (1, 478, 3)
        case = cases.cases[0]
        for images, pack, frames in zip(
            seen, (packs.target, packs.driver), (case.targets, (case.driver,)), strict=True
        ):
            expected = [pack.pictures([frame], 64)[frame] for frame in frames]
            shown = (images.permute(0, 2, 3, 1).numpy() + 1) * 127.5
            np.testing.assert_allclose(shown, np.stack(expected), atol=1e-3)

    def test_inputs_for_another_tool(self, cases_of, packs, tmp_path):
        cases = cases_of(Protocol.DIFFERENT, count=2, k=2, size=64)
        export_inputs(packs, cases, tmp_path)
        one = cases[1]
        names = {path.name for path in (tmp_path / one.id).iterdir()}
        assert names == {"target-1.png", "target-2.png", "driver.png", "driver-rest.png"}
        driver = packs.driver.pictures([one.driver], 64)[one.driver]
        np.testing.assert_array_equal(read_image(tmp_path / one.id / "driver.png"), driver)


class TestRefusals:
    def test_pictures_of_other_data(self, few, packs, pack, tmp_path):
        export(packs, few, Entry("warp"), tmp_path / "warp")
        changed = shutil.copytree(pack, tmp_path / "pack")
        manifest = changed / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"0.1.0"', '"0.1.1"'))
        assert len(ShardReader(changed)) == len(packs.drivers)
        with pytest.raises(ReenactError, match="were drawn from other data"):
            score_folders([tmp_path / "warp"], tmp_path / "out", data=changed)

    def test_changed_sets(self, few, packs, tmp_path):
        export(packs, few, Entry("warp"), tmp_path)
        (tmp_path / "cases.json").write_text(replace(few, cases=few.cases[::-1]).to_json())
        with pytest.raises(ReenactError, match="drawn for other cases than are listed"):
            open_predictions(tmp_path)

    def test_unfinished(self, few, packs, tmp_path):
        made = export(packs, few, Entry("warp"), tmp_path / "warp")
        made.path(few.cases[2]).unlink()
        with pytest.raises(ReenactError, match=f"lacks 1 of 3 pictures, the first is {few.cases[2].id}"):
            score_folders([tmp_path / "warp"], tmp_path / "out")

    def test_other_sets_side_by_side(self, few, cases_of, packs, copies, tmp_path):
        drawn = [
            open_predictions(copies(tmp_path / "a", few, "driver")),
            open_predictions(copies(tmp_path / "b", cases_of(Protocol.SELF, count=2, size=128), "driver")),
        ]
        with pytest.raises(ReenactError, match="compare them separately"):
            measure_all(drawn, packs, tmp_path / "cache")

    def test_folders_that_tell_nothing(self, few, copies, tmp_path):
        with pytest.raises(ReenactError, match="is no folder"):
            open_predictions(tmp_path / "nothing")
        folder = copies(tmp_path / "tool", few, "driver")
        with pytest.raises(ReenactError, match="give it with --data"):
            score_folders([folder], tmp_path / "out")
        (folder / "cases.json").unlink()
        with pytest.raises(ReenactError, match=r"cases\.json is missing"):
            open_predictions(folder)
        (tmp_path / "cases.json").write_text(few.to_json())
        assert open_predictions(folder, tmp_path / "cases.json").method.name == "tool"

    def test_a_picture_that_is_not_square(self, few, packs, pack, copies, tmp_path):
        folder = copies(tmp_path / "tool", few, "driver")
        write_image(folder / f"{few.cases[0].id}.png", np.zeros((64, 80, 3), np.uint8))
        with pytest.raises(ReenactError, match="is not square"):
            score_folders([folder], tmp_path / "out", data=pack, figures=False)


def test_no_face_is_nobody(few, packs, pack, copies, tmp_path):
    folder = copies(tmp_path / "tool", few, "driver")
    write_image(folder / f"{few.cases[0].id}.png", np.full((128, 128, 3), 90, np.uint8))
    results = score_folders([folder], tmp_path / "out", data=pack)
    found = {one.score: one for one in results if (one.method, one.against) == ("tool", None)}
    assert {one.failures for one in found.values()} == {1}
    assert found["csim"].value == pytest.approx(2 / 3, abs=1e-6)
    assert found["id_percent"].value == pytest.approx(200 / 3, abs=1e-3)
    assert found["prmse"].value == 0
    assert found["aucon"].value == 1
    assert found["psnr"].value < 100
    assert (tmp_path / "out" / "figures" / "failures_k1_self_tool.png").exists()


@pytest.fixture(scope="module")
def scene(cases_of, packs, tmp_path_factory):
    """The warp's answers to three cases."""
    folder = tmp_path_factory.mktemp("scene")
    cases = cases_of(Protocol.SELF, count=3, size=128)
    return measure_all([export(packs, cases, Entry("warp"), folder / "warp")], packs, folder / "cache").scenes["warp"]


def with_target(scene, meshes):
    """The same scene, were the targets' faces others."""
    return replace(scene, target=replace(scene.target, mesh_px=np.stack(meshes)))


def lips_at(mesh, share):
    """The inner lips' gap at so much of itself."""
    moved = mesh.copy()
    moved[list(LOWER)] = mesh[list(UPPER)] + share * (mesh[list(LOWER)] - mesh[list(UPPER)])
    return moved


def gap(mesh):
    """Mean over the pairs of inner lip points, between the corners."""
    apart = [np.linalg.norm(mesh[u] - mesh[v]) for u, v in zip(UPPER[1:-1], LOWER[1:-1], strict=True)]
    return np.mean(apart) / np.linalg.norm(mesh[263] - mesh[33])


def test_opening_is_measured_where_mouths_open(scene):
    driver = scene.driver.mesh_px
    assert all(gap(mesh) > 0.03 for mesh in driver), "all mouths of this pack are open"
    told = with_target(scene, [lips_at(mesh, share) for mesh, share in zip(driver, (0.55, 0.45, 1.0), strict=True)])
    assert told.opening.tolist() == [False, True, False]
    found = SCORES["mouth_psnr_opening"].measure(told)
    np.testing.assert_array_equal(found.values, SCORES["mouth_psnr"].measure(scene).values[1:2])
    assert found.identities == (scene.cases[1].identity,)
    closed = replace(told, driver=replace(told.driver, mesh_px=np.stack([lips_at(mesh, 0.05) for mesh in driver])))
    tight = with_target(closed, [lips_at(mesh, 0.01) for mesh in driver])
    assert not tight.opening.any(), "closed mouths do not open by reading errors"


def test_the_silhouette_is_measured_where_heads_turn(scene):
    driver = scene.driver.mesh_px
    told = with_target(scene, [head_turned(mesh, yaw) for mesh, yaw in zip(driver, (14.0, 17.0, -17.0), strict=True)])
    assert told.turned.tolist() == [False, True, True]
    found = SCORES["silhouette_error_turned"].measure(told)
    np.testing.assert_array_equal(found.values, scene.comparison[1:, COMPARISON.index("silhouette_error")])
    assert SCORES["silhouette_error_turned"].measure(with_target(scene, driver)).values.shape == (0,)


def head_turned(mesh, yaw_deg):
    """About the vertical axis through its middle."""
    turn, middle = matrix_from_angles(np.array([yaw_deg, 0.0, 0.0])), mesh.mean(axis=0)
    return ((mesh - middle) @ turn.T + middle).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    config = ShapeEncoderConfig(resolution=64, width=8)
    folder = tmp_path_factory.mktemp("features") / "shape"
    kind = "oneshot-shape-encoder"
    write_checkpoint(folder, Checkpoint(kind, config.model_dump(mode="json"), ShapeEncoder(config).state_dict()))
    return folder


class TestFeatures:
    def test_distances_are_named_and_kept(self, network, few, packs, tmp_path, monkeypatch):
        made = export(packs, few, Entry("warp"), tmp_path / "warp")
        judges = JudgeConfig(features=face_features(network))
        results = score_folders([made.folder], tmp_path / "out", judges=judges, figures=False)
        found = {(one.method, one.against): one for one in results if one.score == FEATURE_DISTANCE}
        assert found[DRIVER_COPY, None].value == 0
        assert 0 < found["warp", None].value < found[TARGET_COPY, None].value
        assert found["warp", TARGET_COPY].value < 0
        digest = hashlib.sha256((network / "config.json").read_bytes()).hexdigest()
        assert {one.judge for one in found.values()} == {f"oneshot-shape-encoder {digest[:12]}"}
        assert {one.judge_sha256 for one in found.values()} == {digest}
        assert f"by oneshot-shape-encoder {digest[:12]}: face features" in (tmp_path / "out" / "tables.md").read_text()
        monkeypatch.setattr("reenactor.research.evaluation.measurements.lpips", no_measuring)
        assert score_folders([made.folder], tmp_path / "out", judges=judges, figures=False) == results

    def test_the_distance_is_of_unit_features(self, network, few, packs, tmp_path):
        """By hand: of each place the squared distance of the two directions, averaged, summed over layers."""
        made = export(packs, few, Entry("warp"), tmp_path / "warp")
        scored = measure_all([made], packs, tmp_path / "cache", judges=JudgeConfig(features=face_features(network)))
        one = few.cases[1]
        truth = packs.driver.pictures([one.driver], 128)[one.driver]
        layers = build_features(TrainedFeatures(folder=network), FEATURE_READERS)
        seen = []
        for picture in (read_image(made.path(one)), truth):
            with torch.no_grad():
                seen.append(layers(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1))
        total = 0.0
        for layer in zip(*seen, strict=True):
            a, b = (x[0].double().flatten(1).numpy() for x in layer)
            cosine = (a * b).sum(0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))
            total += (2 - 2 * cosine).mean()
        assert scored.values(FEATURE_DISTANCE)["warp"].values[1] == pytest.approx(total, rel=1e-3)

    def test_other_checkpoints_are_refused(self, tmp_path):
        with pytest.raises(ReenactError, match="holds no weights"):
            face_features(tmp_path)


def test_targets_of_another_pack_are_read_from_there(pack, tmp_path):
    two = Packs(pack, shutil.copytree(pack, tmp_path / "targets"))
    cases = choose_cases(two, Protocol.WILD, count=2, split=Split.TRAIN, size=128)
    made = export(two, cases, Entry("warp"), tmp_path / "warp")
    again = open_predictions(made.folder)
    assert again.targets == tmp_path / "targets"
    values = measure_all([again], two, tmp_path / "cache").values("csim")
    assert values[TARGET_COPY].values == pytest.approx(1)
    assert (values["warp"].values > 0.5).all()
