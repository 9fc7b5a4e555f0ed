"""Every adapter on a tiny folder in its data set's own layout: identities, splits, order, complaints."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factories import DATA
from reenactor.core import ReenactError
from reenactor.media.video_writer import VideoWriter
from reenactor.research.data.datasets import (
    DATASETS,
    celeba,
    celeba_hq,
    celebv,
    ffhq,
    listing,
    mpiigaze,
    own,
    raf_db,
    voxceleb1,
    wflw,
)
from reenactor.research.data.items import AnnotationKind, Item, Kind, Split

VIDEO = "5r0dWxy17C8"


def put(root: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def make_folder(root: Path) -> None:
    put(root, "anna/2.jpg", "anna/10.jpg", "anna/holiday/a.MP4", "bo/x.gif", "solo.png", "notes.txt", ".hid/a.jpg")


def make_manifest(root: Path) -> None:
    put(root, "clips/a.mp4", "portraits/b.jpg", "portraits/c.jpg")
    rows = (
        "file,kind,split,identity,licence",
        'clips/a.mp4,clip,train,anna,"CC BY, 4.0"',
        "portraits/b.jpg,portrait,val,bo,",
        "portraits/c.jpg,photo,train,,CC0",
    )
    put(root, "manifest.csv", text="\n".join(rows))


def frame_list(frames: range, left: int = 120) -> str:
    header = (
        "Identity  : \tEartha\nReference : \tx\nOffset \t  : \t-1\nFV Conf   : \t16.953\t(1)\nASD Conf  : \t4.465\n"
    )
    rows = "".join(f"{frame:06d} \t{left + i} \t36 \t90 \t90 \n" for i, frame in enumerate(frames))
    return f"{header}\nFRAME \tX \tY \tW \tH \n\n{rows}"


def make_voxceleb1(root: Path) -> None:
    for person in ("id10001", "id10270", "id10309", "id10310"):
        put(root, f"txt/{person}/{VIDEO}/00001.txt", text=frame_list(range(250, 260)))
        put(root, f"txt/{person}/{VIDEO}/00002.txt", text=frame_list(range(500, 503)))
        put(root, f"txt/{person}/gone_gone_g/00001.txt", text=frame_list(range(3)))
    put(root, f"videos/{VIDEO}.webm")


def make_celebv(root: Path) -> None:
    for name in celebv.PEOPLE:
        put(root, *(f"CelebV/{name}/Image/P_{name}_{n}.jpg_{n - 7:010d}.jpg" for n in (9, 10, 12, 50, 101, 102)))
        put(root, f"CelebV/{name}/all_98pt.txt")


def make_celeba(root: Path) -> None:
    put(root, *(f"Img/img_align_celeba/{n:06d}.jpg" for n in range(1, 13)))
    put(root, "Anno/identity_CelebA.txt", text="".join(f"{n:06d}.jpg {n % 4 + 10}\n" for n in range(1, 13)))
    split = lambda n: (0, 0, 1, 2)[n % 4]  # noqa: E731
    put(root, "Eval/list_eval_partition.txt", text="".join(f"{n:06d}.jpg {split(n)}\n" for n in range(1, 13)))


def make_celeba_hq(root: Path) -> None:
    put(root, *(f"CelebA-HQ-img/{number}.jpg" for number in range(12)))
    rows = "".join(f"{n}  {n + 100}  {n + 101:06d}.jpg  abc  def\n" for n in range(12))
    put(root, celeba_hq.MAPPING, text="idx         orig_idx    orig_file   proc_md5  final_md5\n" + rows)
    put(root, celeba.IDENTITIES, text="".join(f"{n + 101:06d}.jpg {n // 3}\n" for n in range(-50, 50)))
    split = lambda n: (0, 0, 1, 2)[n // 3 % 4]  # noqa: E731
    put(root, celeba.PARTITION, text="".join(f"{n + 101:06d}.jpg {split(n)}\n" for n in range(-50, 50)))


def ffhq_record(number: int) -> dict[str, object]:
    facts = {"author": f"Äuthor {number}", "license": "CC", "country": "", "photo_url": "u"}
    return {"category": "training", "metadata": facts, "image": {"face_landmarks": [[1.5, 2]] * 68}}


def make_ffhq(root: Path) -> None:
    numbers = (0, 1, 999, 1000, 59999, 60000, 69999)
    put(root, *(f"images1024x1024/{n // 1000 * 1000:05d}/{n:05d}.png" for n in numbers), "images1024x1024/LICENSE.txt")
    put(root, "images256x256/00000/00000.png", "thumbnails128x128/00000/00000.png")
    put(root, "ffhq-dataset-v2.json", text=json.dumps({str(n): ffhq_record(n) for n in range(1001)}))


def make_raf_db(root: Path) -> None:
    names = [f"train_{n:05d}" for n in range(1, 8)] + [f"test_{n:04d}" for n in range(1, 4)]
    put(root, *(f"basic/Image/original/{name}.jpg" for name in names))
    put(root, *(f"basic/Image/aligned/{name}_aligned.jpg" for name in names))
    text = "".join(f"{name}.jpg {i % 7 + 1}\n" for i, name in enumerate(names))
    put(root, "basic/EmoLabel/list_patition_label.txt", text=text)


WFLW_LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"


def wflw_line(photo: str, first: float = 0.5) -> str:
    points = " ".join(f"{first + i:.6f}" for i in range(196))
    return f"{points} 10 20 110 120 0 1 0 0 1 0 {photo}\n"


def make_wflw(root: Path) -> None:
    photos = [f"{n}--Parade/{n}_Parade_{n}_{n}.jpg" for n in range(5)]
    put(root, *(f"WFLW_images/{name}" for name in photos))
    put(root, f"{WFLW_LISTS}/{wflw.TRAIN_LIST}", text="".join(map(wflw_line, [*photos[:3], photos[2]])))
    put(root, f"{WFLW_LISTS}/{wflw.TEST_LIST}", text="".join(map(wflw_line, photos[3:])))


def make_mpiigaze(root: Path) -> None:
    for person in ("p00", "p02", "p14"):
        put(root, f"MPIIFaceGaze/{person}/day01/0005.jpg", f"MPIIFaceGaze/{person}/day13/0203.jpg")
        rows = [
            f"day13/{n:04d}.jpg 614 355 684 357 769 368 842 379 643 524 768 535 640 356 803 375\n" for n in (7, 203)
        ]
        put(root, f"Annotation Subset/{person}.txt", text="".join(rows))


def make_together(root: Path) -> None:
    make_folder(root / "folder")
    make_wflw(root / "wflw")


MAKERS: dict[str, Callable[[Path], None]] = {
    "folder": make_folder,
    "manifest": make_manifest,
    "voxceleb1": make_voxceleb1,
    "celebv": make_celebv,
    "celeba": make_celeba,
    "celeba-hq": make_celeba_hq,
    "ffhq": make_ffhq,
    "raf-db": make_raf_db,
    "wflw": make_wflw,
    "mpiigaze": make_mpiigaze,
    "together": make_together,
}


def facts(items: list[Item]) -> list[tuple[object, ...]]:
    return [(i.key, i.kind, i.path, i.identity, i.split, i.start_s, i.end_s, i.frames, i.about) for i in items]


def splits_of(items: list[Item]) -> dict[str, set[Split]]:
    found: dict[str, set[Split]] = defaultdict(set)
    for item in items:
        found[item.identity].add(item.split)
    return found


# ---- every data set


def test_each_adapter_is_named_once() -> None:
    assert set(DATASETS) == set(MAKERS)
    assert len(set(DATASETS.values())) == len(DATASETS)


@pytest.mark.parametrize("name", MAKERS)
class TestEvery:
    def test_keys_are_unique_and_plain(self, name: str, tmp_path: Path) -> None:
        MAKERS[name](tmp_path)
        items = list(DATASETS[name](tmp_path))
        assert items
        assert len({item.key for item in items}) == len(items)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,100}", item.key) for item in items)
        assert all(
            (item.path / name).is_file() for item in items for name in (item.frames.names if item.frames else [""])
        )

    def test_nobody_is_in_two_splits(self, name: str, tmp_path: Path) -> None:
        MAKERS[name](tmp_path)
        assert all(len(splits) == 1 for splits in splits_of(list(DATASETS[name](tmp_path))).values())

    def test_the_same_anywhere_in_any_directory_order(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name_of_root in ("a", "b"):
            (tmp_path / name_of_root).mkdir()
            MAKERS[name](tmp_path / name_of_root)
        first = facts(list(DATASETS[name](tmp_path / "a")))

        real = os.scandir

        class Backwards:
            def __init__(self, path: Path) -> None:
                with real(path) as found:
                    self.found = sorted(found, key=lambda entry: entry.name, reverse=True)

            def __enter__(self) -> list[os.DirEntry[str]]:
                return self.found

            def __exit__(self, *_: object) -> None: ...

        monkeypatch.setattr(listing.os, "scandir", Backwards)
        second = facts(list(DATASETS[name](tmp_path / "b")))
        strip = lambda rows, root: [(*row[:2], row[2].relative_to(root), *row[3:]) for row in rows]  # noqa: E731
        assert strip(first, tmp_path / "a") == strip(second, tmp_path / "b")

    def test_complains_in_one_sentence(self, name: str, tmp_path: Path) -> None:
        for root in (tmp_path / "nothing", tmp_path):
            with pytest.raises(ReenactError, match="expected") as caught:
                list(DATASETS[name](root))
            assert str(tmp_path) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_lists_no_folder_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for person in range(300):
        put(tmp_path, f"p{person:03d}/1.jpg", f"p{person:03d}/2.jpg")
    listed: list[str] = []
    real = os.scandir
    monkeypatch.setattr(listing.os, "scandir", lambda path: (listed.append(Path(path).name), real(path))[1])
    items = own.folder_items(tmp_path)
    assert listed == []
    assert next(items).path == tmp_path / "p000" / "1.jpg"
    assert set(listed) == {tmp_path.name, "p000"}
    assert [item.identity for item in islice(items, 2)] == ["p000", "p001"]
    assert "p002" not in listed


# ---- folder


class TestFolder:
    def test_items(self, tmp_path: Path) -> None:
        make_folder(tmp_path)
        items = list(own.folder_items(tmp_path))
        assert [(i.path.relative_to(tmp_path).as_posix(), i.identity, i.kind) for i in items] == [
            ("anna/2.jpg", "anna", Kind.PHOTO),
            ("anna/10.jpg", "anna", Kind.PHOTO),
            ("anna/holiday/a.MP4", "anna", Kind.CLIP),
            ("bo/x.gif", "bo", Kind.CLIP),
            ("solo.png", "solo.png", Kind.PHOTO),
        ]

    def test_split_folders(self, tmp_path: Path) -> None:
        put(tmp_path, "train/anna/1.jpg", "train/x.jpg", "val/x.jpg", "test/bo/1.mp4", "README.txt")
        assert [(i.identity, i.split) for i in own.folder_items(tmp_path)] == [
            ("anna", Split.TRAIN),
            ("train/x.jpg", Split.TRAIN),
            ("val/x.jpg", Split.VAL),
            ("bo", Split.TEST),
        ]

    def test_a_person_in_two_split_folders_is_refused(self, tmp_path: Path) -> None:
        put(tmp_path, "train/anna/1.jpg", "test/anna/2.jpg")
        with pytest.raises(ReenactError, match="anna is in both train and test"):
            next(own.folder_items(tmp_path))

    @pytest.mark.parametrize("beside", ["cleo/1.jpg", "1.jpg"])
    def test_files_beside_split_folders_are_refused(self, tmp_path: Path, beside: str) -> None:
        put(tmp_path, "train/anna/1.jpg", beside)
        with pytest.raises(ReenactError, match=beside.split("/")[0]):
            next(own.folder_items(tmp_path))

    def test_the_hash_holds_out_one_in_twenty_and_moves_nobody(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"person{n}/1.jpg" for n in range(400)))
        before = {i.identity: i.split for i in own.folder_items(tmp_path)}
        assert 8 <= Counter(before.values())[Split.VAL] <= 32  # 20, and 4.4 is the standard deviation
        put(tmp_path, "zoe/1.jpg", "aaron/1.jpg", "person7/2.jpg")
        after = {i.identity: i.split for i in own.folder_items(tmp_path)}
        assert before.items() <= after.items()

    def test_the_hash_is_the_same_in_every_release(self) -> None:
        # sha256(name)[:8] / 2**64 is 0.333, 0.238 and 0.034; another rule would move people between splits.
        draws = [listing.split_of(name) for name in ("anna", "bo", "person17")]
        assert draws == [Split.TRAIN, Split.TRAIN, Split.VAL]

    def test_links(self, tmp_path: Path) -> None:
        put(tmp_path, "anna/1.jpg")
        (tmp_path / "anna" / "up").symlink_to(tmp_path)
        (tmp_path / "anna" / "self").symlink_to("self")
        (tmp_path / "anna" / "broken.jpg").symlink_to("nowhere.jpg")
        (tmp_path / "twin").symlink_to(tmp_path / "anna")
        (tmp_path / "linked.jpg").symlink_to(tmp_path / "anna" / "1.jpg")
        assert [i.path.relative_to(tmp_path).as_posix() for i in own.folder_items(tmp_path)] == [
            "anna/1.jpg",
            "linked.jpg",
        ]

    def test_names_that_keys_cannot_hold(self, tmp_path: Path) -> None:
        put(tmp_path, "Zoë/ü 1.jpg", "Zoë/ä 1.jpg", "Zoë/ü 1.png", f"{'l' * 200}/1.jpg")
        try:
            put(tmp_path, "Zoë/" + os.fsdecode(b"\xff.jpg"))
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        items = list(own.folder_items(tmp_path))
        assert len({i.key for i in items}) == len(items) == 5
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,100}", i.key) for i in items)
        assert all(i.identity.encode() for i in items)


# ---- manifest


class TestManifest:
    def test_items(self, tmp_path: Path) -> None:
        make_manifest(tmp_path)
        items = list(own.manifest_items(tmp_path))
        assert [(i.identity, i.kind, i.split, i.about) for i in items] == [
            ("anna", Kind.CLIP, Split.TRAIN, {"licence": "CC BY, 4.0"}),
            ("bo", Kind.PHOTO, Split.VAL, {}),
            ("portraits/c.jpg", Kind.PHOTO, Split.TRAIN, {"licence": "CC0"}),
        ]
        assert facts(list(own.manifest_items(tmp_path / "manifest.csv"))) == facts(items)

    def test_cuts(self, tmp_path: Path) -> None:
        put(tmp_path, "a.mp4")
        rows = "file,kind,split,identity,start_s,end_s\na.mp4,clip,val,a,,1.5\na.mp4,clip,val,a,1.5,\n"
        put(tmp_path, "manifest.csv", text="\ufeff" + rows.replace("\n", "\r\n"))
        items = list(own.manifest_items(tmp_path))
        assert [(i.start_s, i.end_s, i.about) for i in items] == [(None, 1.5, {}), (1.5, None, {})]
        assert items[0].key != items[1].key

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ("a.jpg,photo,train,anna", "line 3: a.jpg is there already, at line 2"),
            ("./x/../a.jpg,photo,train,anna", "line 3: a.jpg is there already"),
            ("../a.jpg,photo,train,bo", "line 3: file is '../a.jpg'; expected a path inside"),
            ("x/../../a.jpg,photo,train,bo", "line 3: file is"),
            ("..\\a.jpg,photo,train,bo", "line 3: file is"),
            ("/a.jpg,photo,train,bo", "line 3: file is"),
            ("C:\\a.jpg,photo,train,bo", "line 3: file is"),
            (",photo,train,bo", "line 3: file is ''"),
            ("b.jpg,picture,train,bo", "line 3: kind is 'picture'; expected clip, portrait, photo"),
            ("b.jpg,clip,train,bo", "line 3: b.jpg is not the name of a clip"),
            ("b.txt,photo,train,bo", "line 3: b.txt is not the name of a photo"),
            ("b.jpg,photo,dev,bo", "line 3: split is 'dev'; expected train, val or test"),
            ("b.jpg,photo,val,anna", "line 3: identity anna is in val here and in train above"),
            ("b.jpg,photo,val", "line 3: expected 4 cells"),
            ("b.jpg,photo,val,bo,more", "line 3: expected 4 cells"),
            ('"b.jpg"x,photo,val,bo', "line 3: .*correct the quotes"),
            ("b.jpg,photo,val,bo", "1 of 2 files are missing, the first at .*line 3"),
        ],
    )
    def test_wrong_rows(self, tmp_path: Path, row: str, complaint: str) -> None:
        put(tmp_path, "a.jpg")
        put(tmp_path, "manifest.csv", text=f"file,kind,split,identity\na.jpg,photo,train,anna\n{row}\n")
        with pytest.raises(ReenactError, match=complaint):
            next(own.manifest_items(tmp_path))

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "no column file"),
            ("file,kind,identity\n", "no column split"),
            ("file,kind,split,identity\n", "no rows"),
            ('"file"x,kind', "line 1: .*correct the quotes"),
            ("file,kind,split,identity,start_s,end_s\na.mp4,clip,val,a,2,1\n", "line 2: end_s is not after start_s"),
            ("file,kind,split,identity,start_s\na.mp4,clip,val,a,nan\n", "line 2: start_s is 'nan'"),
        ],
    )
    def test_wrong_tables(self, tmp_path: Path, text: str, complaint: str) -> None:
        put(tmp_path, "manifest.csv", text=text)
        with pytest.raises(ReenactError, match=complaint):
            next(own.manifest_items(tmp_path))

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.csv").write_bytes(b"file,kind,split,identity\n\xff\xfe,photo,val,a\n")
        with pytest.raises(ReenactError, match="UTF-8"):
            next(own.manifest_items(tmp_path))

    @pytest.mark.skipif(not (DATA / "manifest.csv").is_file(), reason="the data pack is not part of the repository")
    def test_the_data_pack(self) -> None:
        items = list(own.manifest_items(DATA))
        with (DATA / "manifest.csv").open(newline="", encoding="utf-8") as table:
            kinds = Counter(row["kind"] for row in csv.DictReader(table))
        assert Counter(item.kind for item in items) == {Kind.PHOTO: kinds["portrait"], Kind.CLIP: kinds["clip"]}
        assert all(len(splits) == 1 for splits in splits_of(items).values())


# ---- VoxCeleb1


def write_video(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(path, size=size, time_base=Fraction(1, 25), rate_hint=Fraction(25))
    with writer:
        for pts in range(2):
            writer.write(np.zeros((size[1], size[0], 3), np.uint8), pts)


class TestVoxCeleb1:
    def test_whole_videos(self, tmp_path: Path) -> None:
        make_voxceleb1(tmp_path)
        put(
            tmp_path,
            "vox1_meta.csv",
            text="VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10270\tEartha_Kitt\tf\tUSA\ttest\n",
        )
        put(tmp_path, "iden_split.txt", text=f"3 id10270/{VIDEO}/00002.wav\n1 id10270/{VIDEO}/00001.wav\n")
        items = list(voxceleb1.items(tmp_path))
        assert [i.key for i in items[:3]] == [
            f"id10001-{VIDEO}-00001",
            f"id10001-{VIDEO}-00002",
            f"id10270-{VIDEO}-00001",
        ]
        assert {i.path for i in items} == {tmp_path / "videos" / f"{VIDEO}.webm"}
        assert {(i.start_s, i.end_s) for i in items} == {(10.0, 10.4), (20.0, 20.12)}
        assert {i.identity: i.split for i in items} == {
            "id10001": Split.TRAIN,
            "id10270": Split.TEST,
            "id10309": Split.TEST,
            "id10310": Split.TRAIN,
        }
        assert items[3].about == {
            "source": f"https://www.youtube.com/watch?v={VIDEO}",
            "name": "Eartha_Kitt",
            "gender": "f",
            "nationality": "USA",
            "utterance": "00002",
            "iden_split": "test",
            "offset": "-1",
            "face_verification": "16.953",
            "active_speaker": "4.465",
        }
        assert items[0].boxes is None  # "x" is no video, so its shape is not known

    def test_boxes_are_fractions_whatever_the_shape(self, tmp_path: Path) -> None:
        put(tmp_path, f"txt/id10001/{VIDEO}/00001.txt", text=frame_list(range(250, 260)))
        write_video(tmp_path / "videos" / f"{VIDEO}.mp4", (64, 48))
        (item,) = voxceleb1.items(tmp_path)
        assert item.boxes is not None
        assert item.boxes.fps == 25
        assert item.boxes.frames.tolist() == list(range(250, 260))
        # 4:3 at 360 lines is 480 wide: 120 / 480, 36 / 360, 90 / 480, 90 / 360.
        np.testing.assert_allclose(item.boxes.boxes[0], [0.25, 0.1, 0.1875, 0.25], rtol=1e-6)
        np.testing.assert_allclose(item.boxes.boxes[9, 0], 129 / 480, rtol=1e-6)

    def test_utterances_cut_beforehand(self, tmp_path: Path) -> None:
        put(tmp_path, f"mp4/id10280/{VIDEO}/00010.mp4", f"mp4/id10280/{VIDEO}/00009.mp4", f"mp4/id10042/{VIDEO}/1.mp4")
        items = list(voxceleb1.items(tmp_path))
        assert [i.key for i in items] == [f"id10042-{VIDEO}-1", f"id10280-{VIDEO}-00009", f"id10280-{VIDEO}-00010"]
        assert [(i.split, i.start_s, i.boxes) for i in items[:2]] == [
            (Split.TRAIN, None, None),
            (Split.TEST, None, None),
        ]

    def test_crops(self, tmp_path: Path) -> None:
        put(tmp_path, f"train/id10001#{VIDEO}#000993#001143.mp4", f"test/id10270#{VIDEO}#000001#000100.mp4")
        items = list(voxceleb1.items(tmp_path))
        assert [(i.key, i.identity, i.split) for i in items] == [
            (f"id10001-{VIDEO}-000993-001143", "id10001", Split.TRAIN),
            (f"id10270-{VIDEO}-000001-000100", "id10270", Split.TEST),
        ]

    @pytest.mark.parametrize("layout", ["unzippedFaces/{}/1.6/{}", "unzippedIntervalFaces/data/{}/1.6/{}/2"])
    @pytest.mark.parametrize("listed", [False, True])
    def test_faces(self, tmp_path: Path, layout: str, listed: bool) -> None:
        dense = "Interval" in layout
        names = (
            [f"{n:02d}.jpg" for n in range(1, 4)] if dense else [f"{n:07d}.jpg" for n in (25, 50, 75, 375, 400, 700)]
        )
        for person in ("Eartha_Kitt", "A.J._Buckley", "Sammy_Jr"):
            put(tmp_path / layout.format(person, VIDEO), *names, "notes.txt")
        if listed:
            rows = "id10001\tA.J._Buckley\tm\tIreland\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\n"
            rows += "id10900\tSammy_Jr.\tm\tUSA\tdev\n"
            put(tmp_path, "vox1_meta.csv", text=f"VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n{rows}")
            put(tmp_path, "iden_split.txt", text=f"2 id10001/{VIDEO}/00002.wav\n")
        items = list(voxceleb1.items(tmp_path))
        # The frames at 25, 50, 75 and at 375, 400 are two clips; the one at 700 is alone, and left out.
        numbers = [(0, 6, 12)] if dense else [(25, 50, 75), (375, 400)]
        each = len(numbers)
        identities = ["id10001", "id10270", "id10900"] if listed else ["A.J._Buckley", "Eartha_Kitt", "Sammy_Jr"]
        assert [i.identity for i in items] == [name for name in identities for _ in range(each)]
        assert [i.split for i in items[::each]] == [Split.TRAIN, Split.TEST, Split.TRAIN]
        assert {i.kind for i in items} == {Kind.CLIP}
        assert [i.frames and (i.frames.numbers, i.frames.fps) for i in items[:each]] == [(n, 25) for n in numbers]
        assert items[0].frames is not None
        assert items[0].frames.names == tuple(names[:3])
        assert items[0].path == tmp_path / layout.format("A.J._Buckley", VIDEO)
        assert items[0].about["source"].endswith(VIDEO)
        assert items[0].about.get("utterance") == ("00002" if dense else None)
        assert items[0].about.get("iden_split") == ("val" if dense and listed else None)

    def test_the_denser_faces_are_preferred(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"unzippedFaces/Zoe/1.6/{VIDEO}/{n:07d}.jpg" for n in (25, 50)))
        assert [i.frames and i.frames.numbers for i in voxceleb1.items(tmp_path)] == [(25, 50)]
        put(tmp_path, *(f"unzippedIntervalFaces/data/Zoe/1.6/{VIDEO}/1/{n:02d}.jpg" for n in (1, 2)))
        assert [i.frames and i.frames.numbers for i in voxceleb1.items(tmp_path)] == [(0, 6)]

    def test_faces_without_neighbours(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"unzippedFaces/Zoe/1.6/{VIDEO}/{n:07d}.jpg" for n in (25, 75)))
        with pytest.raises(ReenactError, match="at most a second apart"):
            list(voxceleb1.items(tmp_path))

    def test_the_trial_list_adds_to_the_test(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"mp4/id{n}/{VIDEO}/1.mp4" for n in (10270, 10500, 10501)))
        put(tmp_path, "veri_test.txt", text="1 id10500/a/1.wav id10500/b/1.wav\n")
        assert [i.split for i in voxceleb1.items(tmp_path)] == [Split.TEST, Split.TEST, Split.TRAIN]

    def test_voxceleb2_is_refused(self, tmp_path: Path) -> None:
        put(tmp_path, f"mp4/id00017/{VIDEO}/1.mp4")
        with pytest.raises(ReenactError, match=r"id00017 .*is no identity of VoxCeleb1; expected id10001 to id11251"):
            next(voxceleb1.items(tmp_path))

    def test_lists_without_videos(self, tmp_path: Path) -> None:
        put(tmp_path, f"vox1_test_txt/txt/id10270/{VIDEO}/1.txt", text=frame_list(range(3)))
        with pytest.raises(ReenactError, match=r"no videos; expected them at .*videos"):
            next(voxceleb1.items(tmp_path))
        put(tmp_path, "videos/other.mp4")
        with pytest.raises(ReenactError, match=r"empty; expected files in .*videos"):
            next(voxceleb1.items(tmp_path))
        put(tmp_path, f"videos/{VIDEO}.mkv")
        assert next(voxceleb1.items(tmp_path)).path.suffix == ".mkv"

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("Identity : \tx\n", "lists no frames"),
            ("FRAME X Y W H\n1 2 3\n", "line 2 is not FRAME X Y W H"),
            ("FRAME X Y W H\n1 2 3 4 5\n1 2 3 4 5\n", "do not increase"),
        ],
    )
    def test_damaged_frame_lists(self, tmp_path: Path, text: str, complaint: str) -> None:
        put(tmp_path, f"txt/id10270/{VIDEO}/1.txt", text=text)
        put(tmp_path, f"videos/{VIDEO}.mp4")
        with pytest.raises(ReenactError, match=complaint):
            next(voxceleb1.items(tmp_path))


# ---- CelebV


class TestCelebV:
    def test_items(self, tmp_path: Path) -> None:
        make_celebv(tmp_path)
        items = list(celebv.items(tmp_path))
        # The frame numbered 50 is more than a second from all others.
        assert [i.identity for i in items] == [name for name in celebv.PEOPLE for _ in range(2)]
        assert {(i.kind, i.split) for i in items} == {(Kind.CLIP, Split.TEST)}
        assert [i.frames and i.frames.numbers for i in items[:2]] == [(9, 10, 12), (101, 102)]
        assert [i.about for i in items[:2]] == [{"frame": "9", "place": "2"}, {"frame": "101", "place": "94"}]
        assert facts(list(celebv.items(tmp_path / "CelebV"))) == facts(items)

    def test_long_runs_are_cut_and_videos_kept_apart(self, tmp_path: Path) -> None:
        make_celebv(tmp_path)
        folder = tmp_path / "CelebV" / "Kathleen" / "Image"
        put(folder, *(f"a_{n}.jpg" for n in range(1505)), *(f"b_{n}.jpg" for n in range(3)))
        (folder / "P_Kathleen_9.jpg_0000000002.jpg").rename(folder / "P_Kathleen_11.jpg_0000000002.jpg")
        frames = [i.frames for i in celebv.items(tmp_path) if i.identity == "Kathleen"]
        assert [one and (one.numbers[0], len(one.names)) for one in frames] == [
            (10, 3),
            (101, 2),
            (0, 1500),
            (1500, 5),
            (0, 3),
        ]

    def test_numbers(self, tmp_path: Path) -> None:
        assert celebv.frame_numbers("P_MaYun_0120.jpg_0000000404") == {"frame": "120", "place": "404"}
        assert celebv.frame_numbers("0000120") == {"frame": "120"}
        assert celebv.frame_numbers("clip2_frame7x") == {"frame": "7"}
        assert celebv.frame_numbers("face") == {}

    @pytest.mark.parametrize(
        ("name", "complaint"),
        [
            ("face.jpg", "face.jpg in .*Image has no frame number; expected names like P_Jack_Ma_9"),
            ("P_Jack_Ma_9.png", "P_Jack_Ma_9.*have one frame number; remove one"),
        ],
    )
    def test_wrong_names(self, tmp_path: Path, name: str, complaint: str) -> None:
        make_celebv(tmp_path)
        put(tmp_path, f"CelebV/Jack_Ma/Image/{name}")
        with pytest.raises(ReenactError, match=complaint):
            list(celebv.items(tmp_path))

    def test_a_missing_person(self, tmp_path: Path) -> None:
        make_celebv(tmp_path)
        (tmp_path / "CelebV" / "Jack_Ma").rename(tmp_path / "CelebV" / "MaYun")
        with pytest.raises(ReenactError, match=r"no Jack_Ma/Image in .*CelebV; expected a folder Image for each"):
            next(celebv.items(tmp_path))


# ---- CelebA


class TestCelebA:
    def test_items(self, tmp_path: Path) -> None:
        make_celeba(tmp_path)
        items = list(celeba.items(tmp_path))
        assert [(i.key, i.kind, i.boxes) for i in items] == [(f"{n:06d}", Kind.PHOTO, None) for n in range(1, 13)]
        assert [i.identity for i in items[:5]] == ["celeba-11", "celeba-12", "celeba-13", "celeba-10", "celeba-11"]
        of = {"celeba-10": Split.TRAIN, "celeba-11": Split.TRAIN, "celeba-12": Split.VAL, "celeba-13": Split.TEST}
        assert {i.identity: i.split for i in items} == of

    def test_as_torchvision_has_it(self, tmp_path: Path) -> None:
        make_celeba(tmp_path)
        before = list(celeba.items(tmp_path))
        for path in ("Img/img_align_celeba", "Anno/identity_CelebA.txt", "Eval/list_eval_partition.txt"):
            (tmp_path / path).rename(tmp_path / Path(path).name)
        items = list(celeba.items(tmp_path))
        assert [(i.key, i.identity, i.split) for i in items] == [(i.key, i.identity, i.split) for i in before]

    def test_photos_in_the_wild_have_boxes(self, tmp_path: Path) -> None:
        make_celeba(tmp_path)
        (tmp_path / "Img/img_celeba").mkdir()
        Image.new("RGB", (400, 200)).save(tmp_path / "Img/img_celeba/000002.jpg")
        put(tmp_path, "Img/img_celeba/000003.jpg")  # "x" is no picture, so its shape is not known
        rows = "000002.jpg    100  50 200  60\n000003.jpg 1 2 3 4\n"
        put(tmp_path, "Anno/list_bbox_celeba.txt", text=f"2\nimage_id x_1 y_1 width height\n{rows}")
        second, third = celeba.items(tmp_path)
        assert (second.identity, third.boxes) == ("celeba-12", None)
        assert second.boxes is not None
        np.testing.assert_allclose(second.boxes.boxes, [[0.25, 0.25, 0.5, 0.3]], rtol=1e-6)
        put(tmp_path, "Anno/list_bbox_celeba.txt", text="2\nimage_id x_1 y_1 width height\n000002.jpg 1 2 3\n")
        with pytest.raises(ReenactError, match="line 3 is not a file and 4 numbers"):
            next(celeba.items(tmp_path))

    def test_identities_alone(self, tmp_path: Path) -> None:
        make_celeba(tmp_path)
        (tmp_path / "Eval/list_eval_partition.txt").unlink()
        items = list(celeba.items(tmp_path))
        assert [i.split for i in items] == [listing.split_of(i.identity) for i in items]

    def test_what_is_missing(self, tmp_path: Path) -> None:
        make_celeba(tmp_path)
        put(tmp_path, "Anno/identity_CelebA.txt", text="000001.jpg 5\n")
        with pytest.raises(ReenactError, match=r"000002.jpg is not in identity_CelebA.txt in"):
            list(celeba.items(tmp_path))
        (tmp_path / "Anno/identity_CelebA.txt").unlink()
        with pytest.raises(ReenactError, match=r"no identity_CelebA.txt in .*; expected CelebA's list of identities"):
            next(celeba.items(tmp_path))


# ---- CelebA-HQ


class TestCelebAHQ:
    def test_items(self, tmp_path: Path) -> None:
        make_celeba_hq(tmp_path)
        items = list(celeba_hq.items(tmp_path))
        assert [i.key for i in items] == [f"{n:05d}" for n in range(12)]
        assert [i.identity for i in items] == [f"celeba-{n // 3}" for n in range(12)]
        assert [i.split for i in items] == [Split.TRAIN] * 6 + [Split.VAL] * 3 + [Split.TEST] * 3
        assert items[11].about == {"celeba_file": "000112.jpg"}

    def test_a_person_on_two_sides_is_held_out(self, tmp_path: Path) -> None:
        make_celeba_hq(tmp_path)
        put(tmp_path, celeba.IDENTITIES, text="".join(f"{n + 101:06d}.jpg {n % 2}\n" for n in range(12)))
        assert {i.split for i in celeba_hq.items(tmp_path)} == {Split.TEST}

    def test_identities_alone(self, tmp_path: Path) -> None:
        make_celeba_hq(tmp_path)
        (tmp_path / celeba.PARTITION).unlink()
        items = list(celeba_hq.items(tmp_path))
        assert [i.split for i in items] == [listing.split_of(i.identity) for i in items]

    def test_partition_alone(self, tmp_path: Path) -> None:
        make_celeba_hq(tmp_path)
        (tmp_path / celeba.IDENTITIES).unlink()
        items = list(celeba_hq.items(tmp_path))
        assert len({i.identity for i in items}) == 12
        assert Counter(i.split for i in items) == {Split.TRAIN: 6, Split.VAL: 3, Split.TEST: 3}

    @pytest.mark.parametrize("with_mapping", [True, False])
    def test_photos_alone_are_all_train(self, tmp_path: Path, with_mapping: bool) -> None:
        make_celeba_hq(tmp_path)
        for name in (celeba.IDENTITIES, celeba.PARTITION, *([] if with_mapping else [celeba_hq.MAPPING])):
            (tmp_path / name).unlink()
        items = list(celeba_hq.items(tmp_path))
        assert {i.split for i in items} == {Split.TRAIN}
        assert len({i.identity for i in items}) == 12

    def test_other_places(self, tmp_path: Path) -> None:
        put(tmp_path, "CelebAMask-HQ/CelebA-HQ-img/0.jpg", "CelebAMask-HQ/CelebA-HQ-img/0_mask.txt")
        put(tmp_path, f"CelebAMask-HQ/{celeba_hq.MAPPING}", text="idx orig_idx orig_file\n0 5 000006.jpg\n")
        put(tmp_path, celeba.IDENTITIES, text="000006.jpg 77\n")
        assert [i.identity for i in celeba_hq.items(tmp_path)] == ["celeba-77"]
        put(tmp_path, "flat/00007.png")
        assert [i.key for i in celeba_hq.items(tmp_path / "flat")] == ["00007"]

    def test_incomplete_lists(self, tmp_path: Path) -> None:
        make_celeba_hq(tmp_path)
        put(tmp_path, celeba.PARTITION, text="000101.jpg 0\n")
        with pytest.raises(ReenactError, match=r"000104.jpg is not in list_eval_partition.txt"):
            list(celeba_hq.items(tmp_path))
        put(tmp_path, celeba.PARTITION, text="000101.jpg 7\n")
        with pytest.raises(ReenactError, match="expected 0, 1 or 2"):
            next(celeba_hq.items(tmp_path))
        (tmp_path / celeba_hq.MAPPING).unlink()
        with pytest.raises(ReenactError, match=r"no CelebA-HQ-to-CelebA-mapping.txt in"):
            next(celeba_hq.items(tmp_path))

    def test_celeba_itself_is_refused(self, tmp_path: Path) -> None:
        put(tmp_path, "000001.jpg", "202599.jpg")
        with pytest.raises(ReenactError, match=r"202599.jpg .*is no number of CelebA-HQ"):
            list(celeba_hq.items(tmp_path))


# ---- FFHQ


class TestFFHQ:
    def test_items(self, tmp_path: Path) -> None:
        make_ffhq(tmp_path)
        items = list(ffhq.items(tmp_path))
        assert [i.key for i in items] == ["00000", "00001", "00999", "01000", "59999", "60000", "69999"]
        assert [i.split for i in items] == [Split.TRAIN] * 5 + [Split.VAL] * 2
        assert {i.path.parents[1].name for i in items} == {"images1024x1024"}
        assert items[2].about == {"author": "Äuthor 999", "license": "CC", "photo_url": "u"}
        assert items[4].about == {}

    @pytest.mark.parametrize("text", ["", "[1]", '{"0": {"metadata": {', '{"x": {}}', '{"0": 5}', '{"0": {}'])
    def test_damaged_json(self, tmp_path: Path, text: str) -> None:
        make_ffhq(tmp_path)
        put(tmp_path, "ffhq-dataset-v2.json", text=text)
        with pytest.raises(ReenactError, match="damaged or not FFHQ's"):
            list(ffhq.items(tmp_path))

    def test_thumbnails_without_json(self, tmp_path: Path) -> None:
        put(tmp_path, "thumbnails128x128/69000/69999.png")
        assert [(i.key, i.split) for i in ffhq.items(tmp_path)] == [("69999", Split.VAL)]


# ---- RAF-DB


class TestRAFDB:
    def test_items(self, tmp_path: Path) -> None:
        make_raf_db(tmp_path)
        items = list(raf_db.items(tmp_path))
        assert items[3].path == tmp_path / "basic" / "Image" / "original" / "train_00004.jpg"
        assert items[3].about == {"expression": "happiness", "expression_label": "4", "version": "original"}
        assert Counter(i.split for i in items) == {Split.TRAIN: 7, Split.TEST: 3}
        assert facts(list(raf_db.items(tmp_path / "basic"))) == facts(items)

    def test_aligned_if_there_is_no_original(self, tmp_path: Path) -> None:
        make_raf_db(tmp_path)
        before = [i.key for i in raf_db.items(tmp_path)]
        (tmp_path / "basic" / "Image" / "original").rename(tmp_path / "elsewhere")
        items = list(raf_db.items(tmp_path))
        assert items[0].path.name == "train_00001_aligned.jpg"
        assert [i.key for i in items] == before

    def test_photos_that_are_missing(self, tmp_path: Path) -> None:
        make_raf_db(tmp_path)
        (tmp_path / "basic/Image/original/train_00002.jpg").unlink()
        with pytest.raises(ReenactError, match=r"train_00002.jpg is missing in .*original"):
            list(raf_db.items(tmp_path))

    @pytest.mark.parametrize("line", ["train_00001.jpg 8", "valid_1.jpg 1", "train_00001.jpg"])
    def test_wrong_lists(self, tmp_path: Path, line: str) -> None:
        make_raf_db(tmp_path)
        put(tmp_path, "basic/EmoLabel/list_patition_label.txt", text=line)
        with pytest.raises(ReenactError, match="list_patition_label"):
            next(raf_db.items(tmp_path))


# ---- WFLW


class TestWFLW:
    def test_items(self, tmp_path: Path) -> None:
        make_wflw(tmp_path)
        items = list(wflw.items(tmp_path))
        assert [i.key for i in items] == [*(f"train-0000{n}" for n in range(1, 5)), "test-00001", "test-00002"]
        assert items[2].path == items[3].path == tmp_path / "WFLW_images" / "2--Parade" / "2_Parade_2_2.jpg"
        assert [i.split for i in items[4:]] == [Split.TEST] * 2
        assert items[0].about == {
            "large_pose": "0",
            "expression": "1",
            "illumination": "0",
            "make_up": "0",
            "occlusion": "1",
            "blur": "0",
        }
        assert items[0].annotation is not None
        assert items[0].annotation.kind is AnnotationKind.WFLW
        assert items[0].annotation.points_px.shape == (98, 2)
        assert items[0].annotation.points_px[[0, 97]].tolist() == [[0.5, 1.5], [194.5, 195.5]]

    def test_val_is_taken_from_the_training_list_photo_by_photo(self, tmp_path: Path) -> None:
        photos = [f"0--Parade/{n}.jpg" for n in range(400)]
        put(tmp_path, *(f"WFLW_images/{name}" for name in photos))
        put(tmp_path, wflw.TRAIN_LIST, text="".join(wflw_line(name) * 2 for name in photos))
        put(tmp_path, wflw.TEST_LIST, text=wflw_line(photos[0]))
        items = list(wflw.items(tmp_path))[:-1]
        assert [i.split for i in items[::2]] == [i.split for i in items[1::2]]
        assert 8 <= Counter(i.split for i in items[::2])[Split.VAL] <= 32  # 20 expected, standard deviation 4.4

    @pytest.mark.parametrize(
        "line",
        [
            wflw_line("a.jpg").replace(" 10 20", " 10"),
            wflw_line("a.jpg").replace("0.5", "x", 1),
            wflw_line("a.jpg").replace("0.5", "nan", 1),
        ],
    )
    def test_damaged_lines(self, tmp_path: Path, line: str) -> None:
        put(tmp_path, "WFLW_images/a.jpg")
        put(tmp_path, wflw.TRAIN_LIST, wflw.TEST_LIST, text=line)
        with pytest.raises(ReenactError, match="line 1 is not 196 coordinates"):
            next(wflw.items(tmp_path))

    def test_what_is_missing(self, tmp_path: Path) -> None:
        make_wflw(tmp_path)
        (tmp_path / "WFLW_images" / "1--Parade" / "1_Parade_1_1.jpg").unlink()
        with pytest.raises(ReenactError, match=r"1_Parade_1_1.jpg is missing in .*; expected every photo"):
            list(wflw.items(tmp_path))
        (tmp_path / WFLW_LISTS / wflw.TEST_LIST).unlink()
        with pytest.raises(ReenactError, match="expected WFLW's annotations, unpacked"):
            next(wflw.items(tmp_path))


# ---- MPIIGaze


class TestMPIIGaze:
    @pytest.mark.parametrize("folder_name", ["MPIIFaceGaze", "Data/Original", "."])
    def test_items(self, tmp_path: Path, folder_name: str) -> None:
        make_mpiigaze(tmp_path)
        photos = tmp_path / "MPIIFaceGaze"
        if folder_name == "Data/Original":
            (tmp_path / "Data").mkdir()
            photos = photos.rename(tmp_path / folder_name)
        elif folder_name == ".":
            for folder in list(photos.iterdir()):
                folder.rename(tmp_path / folder.name)
            photos = tmp_path
        items = list(mpiigaze.items(tmp_path))
        assert [i.key for i in items] == ["p00-day13_0203", "p02-day13_0203", "p14-day13_0203"]
        assert [i.path for i in items] == [photos / i.identity / "day13" / "0203.jpg" for i in items]
        assert [i.split for i in items] == [Split.TRAIN, Split.TRAIN, Split.VAL]
        assert items[0].annotation is not None
        assert items[0].annotation.kind is AnnotationKind.PUPILS
        assert items[0].annotation.points_px.tolist() == [[640, 356], [803, 375]]

    def test_what_is_missing(self, tmp_path: Path) -> None:
        make_mpiigaze(tmp_path)
        put(tmp_path, "Annotation Subset/p00.txt", text="day13/0203.jpg 614 355\n")
        with pytest.raises(ReenactError, match="line 1 is not a photo and 16 coordinates"):
            next(mpiigaze.items(tmp_path))
        for photo in tmp_path.glob("MPIIFaceGaze/*/day13/*"):
            photo.unlink()
        make = "day13/0007.jpg" + " 1" * 16
        put(tmp_path, *(f"Annotation Subset/{person}.txt" for person in ("p00", "p02", "p14")), text=make)
        with pytest.raises(ReenactError, match="none of the photos"):
            list(mpiigaze.items(tmp_path))


# ---- several together


class TestTogether:
    def test_items(self, tmp_path: Path) -> None:
        make_together(tmp_path)
        items = list(DATASETS["together"](tmp_path))
        first, last = next(own.folder_items(tmp_path / "folder")), list(wflw.items(tmp_path / "wflw"))[-1]
        assert (items[0].key, items[0].identity, items[0].split) == (f"folder-{first.key}", "folder/anna", first.split)
        assert (items[-1].key, items[-1].identity, items[-1].split) == (
            "wflw-test-00002",
            "wflw/test-00002",
            Split.TEST,
        )
        assert items[-1].annotation is not None
        assert last.annotation is not None
        np.testing.assert_array_equal(items[-1].annotation.points_px, last.annotation.points_px)

    def test_other_folders_are_refused(self, tmp_path: Path) -> None:
        make_together(tmp_path)
        (tmp_path / "together").mkdir()
        with pytest.raises(ReenactError, match="has together, which is no data set; expected subfolders named folder"):
            list(DATASETS["together"](tmp_path))
