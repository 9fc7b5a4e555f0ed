"""The papers' seven data sets, tiny but in their exact layouts: `prepare`, training, every protocol they are for."""

import json
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from factories import head
from reenactor.cli.main import main
from reenactor.core import Alignment
from reenactor.engine import Reenactor
from reenactor.engine.shipped import shipped_motions
from reenactor.face.perception import FaceFinder
from reenactor.media import VideoWriter, write_image
from reenactor.models.marionette import MarioNETteConfig
from reenactor.models.oneshot import OneShotConfig, ShapeEncoderConfig, VerificationConfig
from reenactor.models.oneshot.verification import VERIFICATION, VerificationNet
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from reenactor.nn.losses import RandomVgg
from reenactor.research.data import Kind, ShardReader
from reenactor.research.data.datasets import celeba, celeba_hq, celebv, wflw
from reenactor.research.evaluation import read_cases
from reenactor.research.recipes import recipe
from reenactor.research.training import updated
from reenactor.research.training.log import read_log
from reenactor.research.training.loop import train
from reenactor.research.training.machines import make_fabric

pytestmark = pytest.mark.slow
LONG = 50
"""Frames of each motion."""
CASES = 6


@pytest.fixture(scope="module")
def moving():
    """A function: frame number `i` of person `p`, (256, 256, 3): the astronaut, drawn, mirrored, lighter or darker."""
    reenactor = Reenactor("warp", size=256, transfer="relative")
    reenactor.set_target([head()])
    motions = [list(islice(reenactor.drive(shipped_motions()[name]), LONG)) for name in ("talk", "smile")]

    def frame(person, i):
        image = motions[person % 2][i % LONG].image
        image = np.clip(image * (0.8 + 0.05 * person), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(image[:, ::-1] if person % 3 else image)

    return frame


def put(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def make_voxceleb1(root, moving):
    for p, person in enumerate(("id10001", "id10002", "id10003", "id10270", "id10271")):
        path = root / f"mp4/{person}/5r0dWxy17C8/00001.mp4"
        path.parent.mkdir(parents=True)
        with VideoWriter(path, size=(256, 256), time_base=Fraction(1, 10), rate_hint=Fraction(10)) as writer:
            for i in range(LONG):
                writer.write(moving(p, i), i)


def make_faces(root, moving):
    for p, person in enumerate(("A.J._Buckley", "Eartha_Kitt", "Emily_Atack")):
        for i in range(9):
            put(root / f"unzippedFaces/{person}/1.6/5r0dWxy17C8/{375 + 25 * i:07d}.jpg", moving(p, 5 * i))


def make_interval_faces(root, moving):
    for p, person in enumerate(("A.J._Buckley", "Eartha_Kitt", "Emily_Atack")):
        for i in range(12):
            put(root / f"unzippedIntervalFaces/data/{person}/1.6/5r0dWxy17C8/1/{i + 1:02d}.jpg", moving(p, 4 * i))


def make_celebv(root, moving):
    for p, person in enumerate(celebv.PEOPLE):
        for i in range(20):
            put(root / f"CelebV/{person}/Image/P_{person}_{100 + i}.jpg_{90 + i:010d}.jpg", moving(p, 2 * i))


ALBUM = [(p, i) for p in range(6) for i in range(5)]
"""Person and number of each photo of CelebA and CelebA-HQ: five of each. Two people are train, three are val."""


def album_lists(folder, partition):
    text(folder / celeba.IDENTITIES, [f"{n:06d}.jpg {p + 100}" for n, (p, _) in enumerate(ALBUM, start=1)])
    text(
        partition / celeba.PARTITION,
        [f"{n:06d}.jpg {(0, 0, 1, 1, 1, 2)[p]}" for n, (p, _) in enumerate(ALBUM, start=1)],
    )


def make_celeba(root, moving):
    for n, (p, i) in enumerate(ALBUM, start=1):
        put(root / f"Img/img_align_celeba/{n:06d}.jpg", moving(p, 9 * i)[20:238, 40:218])
    album_lists(root / "Anno", root / "Eval")


def make_celeba_hq(root, moving):
    for n, (p, i) in enumerate(ALBUM):
        put(root / f"CelebA-HQ-img/{n}.jpg", moving(p, 9 * i))
    rows = [f"{n} {n} {n + 1:06d}.jpg" for n in range(len(ALBUM))]
    text(root / celeba_hq.MAPPING, ["idx orig_idx orig_file", *rows])
    album_lists(root, root)


def make_ffhq(root, moving):
    for p, number in enumerate((0, 1, 60000, 60001, 69999)):
        put(root / f"images1024x1024/{number // 1000 * 1000:05d}/{number:05d}.png", moving(p, 7 * p))


def make_raf_db(root, moving):
    names = ["train_00001", "train_00002", "test_0001", "test_0002", "test_0003"]
    for p, name in enumerate(names):
        put(root / f"basic/Image/original/{name}.jpg", moving(p, 7 * p))
    text(root / "basic/EmoLabel/list_patition_label.txt", [f"{name}.jpg {p + 1}" for p, name in enumerate(names)])


def make_wflw(root, moving):
    rows = []
    with FaceFinder() as finder:
        for p in range(5):
            put(root / f"WFLW_images/0--Parade/{p}.jpg", moving(p, 7 * p))
            mesh = finder.observe(moving(p, 7 * p)).landmarks.mesh[:, :2]
            points = np.linalg.lstsq(wflw._weights(), mesh, rcond=None)[0]
            rows.append(f"{' '.join(f'{x:.3f}' for x in points.ravel())} 60 60 200 200 0 0 0 0 0 0 0--Parade/{p}.jpg")
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    text(lists / wflw.TRAIN_LIST, rows[:2])
    text(lists / wflw.TEST_LIST, rows[2:])


MAKERS = {
    "voxceleb1": make_voxceleb1,
    "voxceleb1 faces": make_faces,
    "voxceleb1 interval": make_interval_faces,
    "celebv": make_celebv,
    "celeba": make_celeba,
    "celeba-hq": make_celeba_hq,
    "ffhq": make_ffhq,
    "raf-db": make_raf_db,
    "wflw": make_wflw,
}


@pytest.fixture(scope="module")
def prepared(moving, tmp_path_factory):
    """A function: the folder of a data set's pack, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("papers")

    def pack(name):
        root, out = folder / name, folder / f"{name} pack"
        if not out.exists():
            MAKERS[name](root, moving)
            dataset = name.partition(" ")[0]
            assert main(["prepare", str(root), "--dataset", dataset, "--out", str(out), "--workers", "0"]) == 0
        return out

    return pack


@pytest.mark.parametrize("name", MAKERS)
def test_every_file_is_used(prepared, name):
    pack = ShardReader(prepared(name))
    counts = pack.manifest["counts"]
    assert (counts["skipped"], counts["seconds_without_sample"]) == (0, 0)
    assert set(pack.column("kind")) == {Kind.CLIP if name.startswith(("vox", "celebv")) else Kind.PHOTO}


CLIPS = ("self", "different", "video", "video-different", "same-source")
RUNS = [
    *(("voxceleb1", None, protocol, "1,8") for protocol in (*CLIPS, "person")),
    *(("voxceleb1 faces", None, protocol, "1,8") for protocol in CLIPS),
    *(("voxceleb1 interval", None, protocol, "1,8") for protocol in CLIPS),
    *(("celebv", None, protocol, "1,8") for protocol in CLIPS),
    *((name, None, "same-source", "1,3,5") for name in ("celeba", "celeba-hq")),
    *((name, None, "same-source", "1") for name in ("ffhq", "raf-db", "wflw")),
    ("celeba-hq", "celeba", "cross-source", "1,3,5"),
    ("celeba-hq", "ffhq", "cross-source", "1"),
    ("celeba-hq", "raf-db", "wild", "1"),
    ("voxceleb1", "celeba-hq", "cross-source", "1,3,5"),
]
"""Drivers, targets, protocol, K: paper B's tables 1, 2, 4, 5 and figures 13 to 17, paper A's tables 1 and 3."""


@pytest.mark.parametrize(("drivers", "targets", "protocol", "ks"), RUNS)
def test_every_protocol(prepared, drivers, targets, protocol, ks, tmp_path, capsys):
    """With no --split: the one that exists is used."""
    packs = [prepared(name) for name in (drivers, targets or drivers)]
    given = ["--targets", packs[1]] if targets else []
    options = ["--cases", CASES, "--frames", 4, "--size", 128, "--workers", 0, "--no-figures", "--device", "cpu"]
    command = ["evaluate", "run", "--data", packs[0], *given, "--models", "warp", "--protocol", protocol, "--k", ks]
    capsys.readouterr()
    assert main([str(word) for word in [*command, *options, "--out", tmp_path]]) == 0
    said = capsys.readouterr().err
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    firsts, readers = [], [ShardReader(folder) for folder in packs]
    for k in map(int, ks.split(",")):
        (cases,) = (read_cases(path) for path in tmp_path.glob(f"k{k}_*/warp/cases.json"))
        own = [one for one in results if one["k"] == k and one["method"] == "warp" and one["against"] is None]
        scored = {one["score"]: one["counted"] for one in own if one["value"] is not None}
        # Portraits are driven by one portrait of each other person.
        assert len(cases) >= (CASES if Kind.CLIP in readers[0].column("kind") else 2)
        assert scored["csim"] == len(cases)
        assert scored["prmse"] > 0
        assert ("psnr" in scored) == cases.protocol.has_truth
        assert ("jitter_ratio" in scored) == cases.protocol.consecutive
        people = [dict(zip(pack.column("key"), pack.column("identity"), strict=True)) for pack in readers]
        for case in cases:
            # Person gives as many as differ.
            assert len(case.targets) == k or protocol == "person"
            assert {people[1][frame.key] for frame in case.targets} == {case.identity}
            if targets is None:
                assert (people[0][case.driver.key] == case.identity) == cases.protocol.has_truth
        if not packs[1].name.startswith(("vox", "celebv")):
            assert all(len({frame.key for frame in case.targets}) == k for case in cases)
        firsts.append([(case.targets[0], case.driver) for case in cases])
    assert all(first == firsts[0] for first in firsts)
    for folder in dict.fromkeys(packs):
        others = {"ffhq": None, "celeba": None, "celeba-hq": None}.get(folder.name.removesuffix(" pack"), "test")
        note = f"{folder} has no split val; its split {others} is used (choose with --split)"
        assert said.count(note) == (0 if others is None else 1)


def test_held_out_people_of_voxceleb1(prepared, moving, tmp_path, capsys):
    """`self` then runs on them by default; CelebV has only its test people to hold out."""
    make_voxceleb1(tmp_path / "vox", moving)
    command = ["prepare", tmp_path / "vox", "--dataset", "voxceleb1", "--hold-out-people", 1, "--workers", 0]
    assert main([str(word) for word in [*command, "--out", tmp_path / "pack"]]) == 0
    assert "1 people are held out as the split val: id1000" in capsys.readouterr().out
    pack = ShardReader(tmp_path / "pack")
    (person,) = pack.manifest["held_out"]
    command = ["evaluate", "export", "--inputs", "--data", tmp_path / "pack", "--cases", 4, "--workers", 0]
    assert main([str(word) for word in [*command, "--out", tmp_path / "inputs"]]) == 0
    assert "no split val" not in capsys.readouterr().err
    assert {case.identity for case in read_cases(tmp_path / "inputs" / "cases.json")} == {person}


TINY = {
    "marionette": {"objective.model": MarioNETteConfig(resolution=64, base_width=8, max_width=16), "data.size": 64},
    "verification": {"objective.model": VerificationConfig(width=8)},
    "oneshot": {
        "objective.model": OneShotConfig(
            alignment=Alignment.MEAN_SHAPE,
            resolution=64,
            base_width=4,
            max_width=8,
            spade_from=8,
            discriminator_width=4,
            fusion_width=8,
            fusion="none",
        ),
        "data.size": 64,
    },
    "shape-encoder": {"objective.model": ShapeEncoderConfig(resolution=64, width=8)},
}
TRAINED = [
    ("voxceleb1", "marionette"),
    ("voxceleb1 faces", "marionette"),
    ("voxceleb1 interval", "marionette"),
    ("celeba", "verification"),
    ("celeba-hq", "oneshot"),
    ("ffhq", "oneshot"),
    ("raf-db", "oneshot"),
    ("wflw", "shape-encoder"),
]
"""CelebV has no people to train on."""


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """An untrained verification network, which the one-shot system's identity loss reads."""
    folder = tmp_path_factory.mktemp("verifier")
    network = VerificationNet(VerificationConfig(width=8))
    write_checkpoint(folder, Checkpoint(VERIFICATION, network.config.model_dump(mode="json"), network.state_dict()))
    return folder


WHOLE = {which: name for name, which in reversed(TRAINED)}
"""Recipe and one data set: a network's size does not depend on the data."""


@pytest.mark.parametrize(
    ("name", "which", "full"),
    [*((*one, False) for one in TRAINED), *((name, which, True) for which, name in WHOLE.items())],
)
def test_every_recipe(prepared, verifier, name, which, full, tmp_path):
    """The papers' recipes: two steps of tiny networks, one of those of full size. Random VGGs replace trained ones."""
    width = 1.0 if full else 1 / 16
    losses = {
        "marionette": {"objective.vgg19": RandomVgg(width=width), "objective.vgg_face": RandomVgg(width=width)},
        "oneshot": {"objective.features": RandomVgg(width=width), "objective.verification.folder": verifier},
    }
    # Batch normalization of one embedding is nothing.
    batch = 2 if which == "verification" or not full else 1
    quick = {"steps": 1 if full else 2, "batch_size": batch, "workers": 0, "precision": "fp32"}
    run = updated(recipe(which), losses.get(which, {}) | quick | ({} if full else TINY[which]))
    done = train(run, prepared(name), tmp_path, make_fabric(accelerator="cpu", devices=1))
    assert (done.step, done.finished) == (run.steps, True)
    terms = [row for row in read_log(tmp_path) if row["step"] == run.steps]
    assert all(np.isfinite(value) for row in terms for value in row.values())
    tensors = read_checkpoint(done.model).tensors
    assert sum(one.numel() for one in tensors.values()) > (1e6 if full else 1e3)
