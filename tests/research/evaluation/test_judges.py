"""Chosen judges on a real pack: what they give by hand, whose numbers are kept apart, and whose name is beside them."""

import hashlib
import json
import os
import stat
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from skimage.transform import SimilarityTransform, warp

from onnx_files import WEIGHTS, embedded, write_network
from reenactor.core import MESH_TO_IBUG68, ReenactError
from reenactor.face.maps import hull_mask
from reenactor.media import read_image
from reenactor.research.evaluation import (
    RESULTS,
    Entry,
    JudgeConfig,
    Masked,
    PoseAu,
    Protocol,
    export,
    measure_all,
    read_results,
    result_tables,
    score_folders,
)
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.judges import Judges
from reenactor.research.metrics import ArcFaceEmbedder, read_arcface

TEMPLATE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]


@pytest.fixture(scope="module")
def few(cases_of):
    return cases_of(Protocol.SELF, count=3, size=128)


@pytest.fixture(scope="module")
def drawn(few, packs, tmp_path_factory):
    """What the warp draws."""
    return export(packs, few, Entry("warp"), tmp_path_factory.mktemp("judged") / "warp")


@pytest.fixture
def warp_only(drawn, few, tmp_path):
    """The same in a folder of its own, without measurements."""
    folder = tmp_path / "warp"
    folder.mkdir()
    for path in drawn.folder.iterdir():
        if path.suffix != ".npz":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def values_of(results, score):
    return {one.method: one.value for one in results if one.score == score and one.against is None}


def embedding_by_hand(picture, weights=WEIGHTS):
    """Of the mean colour in scikit-image's chip."""
    points = Judges().mesh(picture)[list(MESH_TO_IBUG68), :2].astype(float)
    five = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    place = SimilarityTransform.from_estimate(np.array(five), np.array(TEMPLATE))
    return embedded(warp(picture.astype(float), place.inverse, output_shape=(112, 112)).mean(axis=(0, 1)), weights)


class TestArcFace:
    @pytest.fixture
    def network(self, tmp_path):
        return read_arcface(write_network(tmp_path / "tiny.onnx"))

    def test_csim_and_id_by_hand(self, drawn, few, packs, network, tmp_path):
        scored = measure_all([drawn], packs, tmp_path / "cache", judges=JudgeConfig(arcface=network))
        truth = packs.driver.pictures([case.driver for case in few], 128)
        for case, csim in zip(few, scored.values("csim")["warp"].values, strict=True):
            ours, theirs = (embedding_by_hand(one) for one in (read_image(drawn.path(case)), truth[case.driver]))
            assert csim == pytest.approx(ours @ theirs, abs=2e-3), "nothing is subtracted"
        # One person from a cosine of 0.28 on: the distance of unit vectors is 1.2.
        turned = [np.array([1.0, 0, 0, 0]), np.array([0.27, 0.9629, 0, 0]), np.array([0.29, 0.9570, 0, 0])]
        assert [np.linalg.norm(turned[0] - one) < scored.judges.same_person_distance for one in turned] == [
            True,
            False,
            True,
        ]

    def test_judges_are_never_mixed(self, warp_only, network, tmp_path, monkeypatch):
        """Three judges take turns over one cache; each finds what it measured, and nothing of the others."""
        other = read_arcface(write_network(tmp_path / "other.onnx", weights=WEIGHTS[:, [0, 1, 3]] ** 2 - 0.1))
        choices = [JudgeConfig(), JudgeConfig(arcface=network), JudgeConfig(arcface=other)]

        def score(judges):
            return score_folders([warp_only], tmp_path / "out", judges=judges, figures=False)

        first = [score(judges) for judges in choices]
        csim = [values_of(results, "csim")["warp"] for results in first]
        assert all(abs(a - b) > 1e-4 for a, b in pairwise(csim))
        for score_name in ("psnr", "nme", "prmse", "aucon"):
            assert len({values_of(results, score_name)["warp"] for results in first}) == 1
        monkeypatch.setattr(Judges, "mesh", None)
        monkeypatch.setattr(ArcFaceEmbedder, "embed_batch", None)
        assert [score(judges) for judges in reversed(choices)] == first[::-1], "nothing is measured again"

    def test_the_judge_is_written_beside_the_numbers(self, warp_only, network, tmp_path):
        results = score_folders([warp_only], tmp_path / "out", judges=JudgeConfig(arcface=network))
        digest = hashlib.sha256((tmp_path / "tiny.onnx").read_bytes()).hexdigest()
        name = f"ArcFace tiny {digest[:12]} (one person from cosine 0.28)"
        lines = [json.loads(line) for line in (tmp_path / "out" / RESULTS).read_text().splitlines()]
        of = {(line["score"], line["judge"], line["judge_sha256"]) for line in lines}
        assert {one for one in of if one[2]} == {(score, name, digest) for score in ("csim", "id_percent")}
        assert all(judge for _, judge, _ in of)
        text = (tmp_path / "out" / "tables.md").read_text()
        assert text.count(f"Judged by {name}: CSIM; Id.") == text.count("### ") == 2
        assert "dlib" not in text
        assert name in (tmp_path / "out" / "tables.html").read_text()
        by_default = score_folders([warp_only], tmp_path / "other", figures=False)
        with pytest.raises(ReenactError, match=r"CSIM was judged by ArcFace tiny .* and by dlib's network"):
            result_tables([*results, *by_default])

    def test_results_of_before_have_the_default_judges(self, warp_only, tmp_path):
        results = score_folders([warp_only], tmp_path / "out", figures=False)
        old = []
        for line in (tmp_path / "out" / RESULTS).read_text().splitlines():
            found = json.loads(line)
            assert found.pop("judge_sha256") is None
            del found["judge"]
            old.append(json.dumps({**found, "features": None}))
        (tmp_path / "old.jsonl").write_text("\n".join(old))
        assert read_results(tmp_path / "old.jsonl") == results
        (tmp_path / "old.jsonl").write_text(old[0].replace('"csim"', '"unknown"'))
        with pytest.raises(ReenactError, match="holds no results"):
            read_results(tmp_path / "old.jsonl")


def test_masked_scores_in_both_readings(drawn, few, packs, tmp_path):
    """Black around the hull by hand; the other scores stay."""
    mean, black = (
        measure_all([drawn], packs, tmp_path / "cache", judges=JudgeConfig(masked=masked)) for masked in Masked
    )
    truth = packs.driver.pictures([case.driver for case in few], 128)
    meshes = torch.from_numpy(np.stack([packs.driver.mesh(case.driver, 128) for case in few]))
    for i, case in enumerate(few):
        hull = hull_mask(meshes[i : i + 1], 128)[0, 0].numpy()[..., None]
        ours, theirs = (
            np.round(one * hull).astype(np.uint8) for one in (read_image(drawn.path(case)), truth[case.driver])
        )
        error = ((ours.astype(float) - theirs) ** 2).mean() / 255**2
        assert black.values("m_psnr")["warp"].values[i] == pytest.approx(-10 * np.log10(error), abs=1e-4)
        kind = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        similarity = structural_similarity(ours, theirs, channel_axis=2, data_range=255, **kind)
        assert black.values("m_ssim")["warp"].values[i] == pytest.approx(similarity, abs=1e-5)
        share = -10 * np.log10(hull.mean())
        apart = black.values("m_psnr")["warp"].values[i] - mean.values("m_psnr")["warp"].values[i]
        assert apart == pytest.approx(share, abs=0.3), "the hull's edge is soft"
    for score in ("psnr", "ssim", "mouth_psnr"):
        np.testing.assert_array_equal(black.values(score)["warp"].values, mean.values(score)["warp"].values)
    best = black.values("m_psnr")[DRIVER_COPY].values, black.values("m_ssim")[DRIVER_COPY].values
    assert (best[0] == 100).all()
    assert (best[1] == 1).all()
    said = {one.judge for one in black.results() if one.score == "m_psnr"}
    assert said == {"the pixels (black outside the face's hull)"}


PROGRAM = '''#!{python}
"""Stands for OpenFace: what it says of a picture is read from its pixels, so that a wrong order would show."""
import sys
from pathlib import Path

import cv2

out = Path(sys.argv[sys.argv.index("-out_dir") + 1])
for i, word in enumerate(sys.argv):
    if word != "-fdir":
        continue
    folder = Path(sys.argv[i + 1])
    lines = ["frame, face_id, timestamp, confidence, success, "
             "pose_Rx, pose_Ry, pose_Rz, AU01_r, AU12_r, AU01_c, AU12_c"]
    for number, path in enumerate(sorted(folder.glob("*.png")), 1):
        blue, green, red = cv2.imread(str(path)).reshape(-1, 3).mean(0)
        lines.append(f"{{number}}, 0, 0, 1, 1, {{red / 500}}, {{green / 500}}, {{blue / 500}}, 1, 2, "
                     f"{{int(red * 1e4) % 2}}, {{int(green * 1e4) % 2}}")
    (out / (folder.name + ".csv")).write_text("\\n".join(lines) + "\\n")
'''


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bin" / "FeatureExtraction"
    path.parent.mkdir()
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def on_path(program, monkeypatch):
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


OPENFACE = JudgeConfig(pose_au=PoseAu.OPENFACE)


def said_of(picture):
    """Yaw, pitch and roll in degrees, and two units, as the stand-in tells and the reader turns them."""
    red, green, blue = picture.reshape(-1, 3).mean(0)
    return np.rad2deg([-green / 500, red / 500, blue / 500]), np.array([red * 1e4, green * 1e4]).astype(int) % 2


class TestOpenFace:
    def test_pose_and_units_by_hand(self, drawn, few, packs, on_path, tmp_path):
        scored = measure_all([drawn], packs, tmp_path / "cache", judges=OPENFACE)
        frames = packs.driver.pictures([frame for case in few for frame in (case.driver, case.targets[0])], 128)
        errors = {"warp": [], TARGET_COPY: [], DRIVER_COPY: []}
        same = {name: [] for name in errors}
        for case in few:
            shown = {
                "warp": read_image(drawn.path(case)),
                TARGET_COPY: frames[case.targets[0]],
                DRIVER_COPY: frames[case.driver],
            }
            for name, picture in shown.items():
                pose, units = said_of(picture)
                driver_pose, driver_units = said_of(frames[case.driver])
                errors[name].append(np.abs(pose - driver_pose).mean())
                same[name].append((units == driver_units).mean())
        for name in errors:
            np.testing.assert_allclose(scored.values("pose_mae")[name].values, errors[name], atol=1e-4)
            np.testing.assert_array_equal(scored.values("aucon")[name].values, same[name])
        assert max(errors[TARGET_COPY]) > 0.1
        rows = {one.score: one for one in scored.results() if (one.method, one.against) == ("warp", None)}
        judges = {
            score: one.judge for score, one in rows.items() if score in ("prmse", "pose_mae", "aucon", "au_percent")
        }
        assert set(judges.values()) == {"OpenFace 2 (static)"}
        assert len(judges) == 4
        assert rows["aucon"].ceiling is None, "OpenFace measures nothing twice"
        assert rows["csim"].judge.startswith("dlib")

    def test_tables_are_read_again_but_not_for_other_pictures(self, warp_only, few, program, on_path, tmp_path):
        first = score_folders([warp_only], tmp_path / "out", judges=OPENFACE, figures=False)
        tables = tmp_path / "out" / "cache" / "openface"
        assert {path.suffix for path in tables.iterdir()} == {".csv"}, "pictures are removed when they were read"
        program.write_text("#!/bin/sh\necho 'ran again' >&2\nexit 1\n")
        assert score_folders([warp_only], tmp_path / "out", judges=OPENFACE, figures=False) == first
        changed = warp_only / f"{few[0].id}.webp"
        changed.write_bytes((warp_only / f"{few[1].id}.webp").read_bytes())
        with pytest.raises(ReenactError, match=r"OpenFace failed on .*exit code 1\): ran again"):
            score_folders([warp_only], tmp_path / "out", judges=OPENFACE, figures=False)

    def test_tables_may_come_from_elsewhere(self, warp_only, program, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        out = tmp_path / "out" / "cache" / "openface"
        with pytest.raises(
            ReenactError, match=r"was not found; put that of OpenFace 2 .* or run it elsewhere"
        ) as caught:
            score_folders([warp_only], tmp_path / "out", judges=OPENFACE, figures=False)
        folders = sorted(out.iterdir())
        assert f"the {len(folders)} folders in {out} that have no table" in str(caught.value)
        assert f"-fdir FOLDER -aus -pose -au_static -wild -out_dir {out}" in str(caught.value)
        monkeypatch.undo()
        for folder in folders:
            os.system(f"{program} -fdir {folder} -aus -pose -au_static -wild -out_dir {out}")
        monkeypatch.setenv("PATH", str(tmp_path))
        found = score_folders([warp_only], tmp_path / "out", judges=OPENFACE, figures=False)
        assert values_of(found, "prmse")[DRIVER_COPY] == 0
        assert values_of(found, "prmse")["warp"] > 0

    def test_bad_tables_in_one_sentence(self, warp_only, on_path, tmp_path):
        def score():
            return score_folders([warp_only], tmp_path / "out", judges=OPENFACE, figures=False)

        score()
        tables = sorted((tmp_path / "out" / "cache" / "openface").glob("*.csv"))
        whole = tables[0].read_text()
        tables[0].write_text(whole.rsplit("\n", 2)[0] + "\n")
        with pytest.raises(ReenactError, match=r"does not list each of \d frames? once"):
            score()
        tables[0].write_text(whole.replace("AU12", "AU17"))
        with pytest.raises(ReenactError, match="list different action units; remove both, and let one OpenFace"):
            score()

    def test_frames_without_a_face_are_left_out(self, drawn, packs, on_path, tmp_path):
        before = measure_all([drawn], packs, tmp_path / "cache", judges=OPENFACE)
        tables = {path: path.read_text() for path in (tmp_path / "cache" / "openface").glob("*.csv")}
        driver = before.scenes["warp"].driver.openface.poses_deg
        for path, text in tables.items():
            path.write_text(text.replace("1, 0, 0, 1, 1,", "1, 0, 0, 1, 0,", 1))
        after = measure_all([drawn], packs, tmp_path / "cache", judges=OPENFACE)
        hidden = np.isnan(after.scenes["warp"].driver.openface.poses_deg).any(axis=1)
        assert hidden.any()
        assert not np.isnan(driver).any()
        for score in ("pose_mae", "aucon"):
            was, now = (one.values(score)["warp"].values for one in (before, after))
            assert np.isnan(now[hidden]).all()
            np.testing.assert_array_equal(now[~np.isnan(now)], was[~np.isnan(now)])
        found = {one.score: one for one in after.results() if (one.method, one.against) == ("warp", None)}
        assert found["pose_mae"].counted < found["csim"].counted == len(driver)
