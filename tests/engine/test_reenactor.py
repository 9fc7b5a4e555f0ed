"""The Python interface, as its users write it."""

import os
import threading
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import lfw_subset

import reenactor as package
from factories import head, psnr
from reenactor import Head, Motion, Options, ReenactError, Reenactor, Transfer, animate
from reenactor.core import CheckpointError, MediaError, NoFaceError
from reenactor.engine.job import _drawing_threads
from reenactor.engine.prefetch import prefetch
from reenactor.engine.shipped import shipped_motions
from reenactor.engine.track import Track
from reenactor.face.geometry.mean_face import head_angles, in_mean_pose
from reenactor.face.retarget import DriverRest, neutral_frame
from reenactor.face.retarget.transformer import LandmarkTransformer, LandmarkTransformerConfig
from reenactor.media import VideoWriter, read_motion, write_image, write_motion
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.nn.checkpoint import Checkpoint, write_checkpoint

FRAMES = 12


@pytest.fixture(scope="module")
def face():
    return head()


@pytest.fixture(scope="module")
def motion():
    """Half a second of a shipped motion."""
    whole = read_motion(shipped_motions()["talk"])
    return whole.between(0, FRAMES / whole.fps - 1e-6)


@pytest.fixture(scope="module")
def reenactor(face):
    one = Reenactor("warp", size=128)
    one.set_target([face])
    return one


@pytest.fixture(scope="module")
def pictures(reenactor, motion):
    return [frame.image for frame in reenactor.drive(motion)]


@pytest.fixture(scope="module")
def video(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("video") / "driver.mp4"
    with VideoWriter(path, size=(256, 256), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
        for number, picture in enumerate(pictures):
            writer.write(picture, number)
    return path


def test_lines_of_the_docstring(face, video, tmp_path):
    write_image(tmp_path / "person.png", face)
    r = Reenactor("warp")
    r.set_target([tmp_path / "person.png"])
    shown = [frame.image for frame in r.drive(str(video))]
    assert len(shown) == FRAMES
    assert all(image.shape == face.shape and image.dtype == np.uint8 for image in shown)
    assert "set_target" in package.__doc__


def test_motion_path_and_motion_are_the_same(reenactor, motion, tmp_path):
    write_motion(tmp_path / "a.motion", motion)
    by_path = list(reenactor.drive(tmp_path / "a.motion"))
    by_value = list(reenactor.drive(motion))
    assert isinstance(motion, Motion)
    assert len(by_path) == len(by_value) == FRAMES
    for a, b, pts in zip(by_path, by_value, motion.pts, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.time_s == b.time_s == pytest.approx(float(pts * motion.time_base))


def test_video_and_pictures_as_they_come(reenactor, video, pictures):
    """Live the neutral is the first frame, so it is given here to compare with."""
    recorded = list(reenactor.drive(video, neutral=pictures[0]))
    live = list(reenactor.drive(iter(pictures), neutral=pictures[0], fps=25.0))
    assert [f.time_s for f in recorded] == pytest.approx([f.time_s for f in live])
    for a, b in zip(recorded, live, strict=True):
        assert a.face.shape == (128, 128, 3)
        # One has gone through a codec.
        assert np.abs(a.mesh_px - b.mesh_px)[:, :2].mean() < 1.0


def test_first_frame_of_a_live_driver_is_its_neutral(face, pictures):
    relative = Reenactor("warp", size=128, transfer="relative")
    relative.set_target([face])
    first = next(iter(relative.drive(pictures)))
    np.testing.assert_allclose(first.mesh_px, relative.target.mesh_px, atol=0.6)


def test_head_movement_of_a_live_driver_counts_from_the_first_frame(reenactor, pictures):
    first = next(iter(reenactor.drive(pictures)))
    np.testing.assert_allclose(head_angles(first.mesh_px), head_angles(reenactor.target.mesh_px), atol=1)


def test_live_driver_without_a_face_holds_the_pose(reenactor, pictures):
    wall = np.full_like(pictures[0], 90)
    shown = list(reenactor.drive([wall, *pictures[:3], wall, wall, pictures[5]], smooth=True))
    np.testing.assert_array_equal(shown[0].mesh_px, reenactor.target.mesh_px)
    np.testing.assert_array_equal(shown[4].image, shown[3].image)
    np.testing.assert_array_equal(shown[5].image, shown[3].image)
    assert (shown[6].image != shown[5].image).any()


def test_pictures_before_the_first_face_show_the_photo(reenactor, pictures):
    wall = np.full_like(pictures[0], 90)
    shown = list(reenactor.drive(iter([wall, wall, *pictures[:2], wall])))
    assert [frame.driver_seen for frame in shown] == [False, False, True, True, False]
    assert [frame.time_s for frame in shown] == [0, 0.04, 0.08, 0.12, 0.16]
    np.testing.assert_array_equal(shown[1].image, reenactor.frame(reenactor.target.mesh_px, 0).image)
    np.testing.assert_array_equal(shown[4].image, shown[3].image)


@pytest.mark.parametrize("neutral", [False, True])
def test_pictures_without_any_face_end_with_an_error(reenactor, pictures, neutral):
    """With a neutral picture given there was none."""
    wall = np.full_like(pictures[0], 90)
    shown = []
    with pytest.raises(NoFaceError, match="never showed a face"):
        shown.extend(reenactor.drive((wall for _ in range(2)), neutral=pictures[0] if neutral else None))
    for nothing in ([], iter(())):
        with pytest.raises(NoFaceError, match="the driver has no pictures; give at least one"):
            list(reenactor.drive(nothing))
    assert [frame.driver_seen for frame in shown] == [False, False]


def test_a_driver_of_wrong_pictures_names_the_first_of_them(reenactor, pictures, unchecked):
    for wrong, error, words in (
        (5, ReenactError, "must be a path, a Pillow picture or an array of pixels, not int"),
        (None, ReenactError, "must be a path, a Pillow picture or an array of pixels, not NoneType"),
        (pictures[0] / 255, ValueError, r"must be \(H, W, 3\) uint8 RGB, got \(256, 256, 3\) float64"),
        (pictures[0][..., 0], ValueError, r"must be \(H, W, 3\) uint8 RGB, got \(256, 256\) uint8"),
        (Image.new("RGB", (8, 8)), MediaError, "is only 8 x 8 pixels"),
    ):
        frames = reenactor.drive([pictures[0], wrong])
        next(frames)
        with pytest.raises(error, match=f"^picture 2 of the driver {words}"):
            next(frames)
    with pytest.raises(ReenactError, match=r"^picture 1 of the driver must be a path"):
        list(reenactor.drive(b"pictures"))


def test_pillow_pictures_stand_for_photos_and_pictures_that_drive(face, reenactor, pictures):
    """Cut out and in a palette, as stickers are: transparency becomes white."""
    cut = Image.fromarray(face)
    cut.putalpha(Image.fromarray(np.where(np.arange(256) < 240, 255, 0).astype(np.uint8)[:, None].repeat(256, 1)))
    white = face.copy()
    white[240:] = 255
    one = Reenactor("warp", size=128)
    np.testing.assert_array_equal(one.set_target([cut]).photo, white)
    np.testing.assert_array_equal(one.set_target([face, cut.quantize()]).photo, face)
    given = [Image.fromarray(picture) for picture in pictures[:4]]
    for a, b in zip(
        reenactor.drive(given, neutral=given[0]), reenactor.drive(pictures[:4], neutral=pictures[0]), strict=True
    ):
        np.testing.assert_array_equal(a.image, b.image)


def test_one_picture_drives_as_its_file_does(reenactor, pictures, tmp_path):
    write_image(tmp_path / "driver.png", pictures[5])
    (by_path,) = reenactor.drive(tmp_path / "driver.png")
    for picture in (pictures[5], Image.fromarray(pictures[5])):
        (frame,) = reenactor.drive(picture)
        np.testing.assert_array_equal(frame.image, by_path.image)
    with pytest.raises(NoFaceError, match="the driver's picture"):
        reenactor.drive(np.full_like(pictures[0], 90))


def test_a_target_is_one_short_line(face, reenactor):
    target = reenactor.target
    assert repr(target) == "Target(1 photo, 256 x 256, face crop 128 px, warp)"
    assert repr(target.portrait.code) == "WarpCode(photos, mouth)"
    two = Reenactor("warp", size=64, max_side=128).set_target([np.pad(face, ((0, 0), (0, 256), (0, 0))), face])
    assert repr(two) == "Target(2 photos, 128 x 64, face crop 64 px, warp)"


def test_photo_drives_one_frame(reenactor, pictures, tmp_path):
    write_image(tmp_path / "d.png", pictures[5])
    assert len(list(reenactor.drive(tmp_path / "d.png"))) == 1


def test_the_outside_of_the_crop_is_the_photo(face, motion):
    wide = np.pad(face, ((60, 60), (200, 200), (0, 0)), mode="reflect")
    one = Reenactor("warp")
    target = one.set_target([wide])
    inside = target.crop.inside(wide.shape[1], wide.shape[0])
    shown = next(one.drive(motion)).image
    outside = np.ones(wide.shape[:2], bool)
    outside[inside] = False
    assert outside.any()
    np.testing.assert_array_equal(shown[outside], wide[outside])
    assert (shown[inside] != wide[inside]).any()


def test_stopping_a_drive_leaves_no_thread(reenactor, video):
    before = threading.active_count()
    drive = reenactor.drive(video)
    next(drive)
    drive.close()
    assert threading.active_count() == before


def test_a_second_target_replaces_the_first(face, motion):
    one = Reenactor("warp", size=128, transfer="absolute")
    assert one.transfer is Transfer.ABSOLUTE
    one.set_target([face])
    first = next(one.drive(motion)).image
    one.set_target([np.ascontiguousarray(face[:, ::-1])])
    assert (next(one.drive(motion)).image != first).any()


def test_the_transformer_replaces_the_photos_expression(face):
    """She smiles with open lips; a driver at rest leaves them open with `relative`, but not with the transformer."""
    meshes = read_motion(shipped_motions()["talk"]).mesh_px
    rest = meshes[neutral_frame(meshes)]

    def lips_apart(transfer):
        one = Reenactor("warp", size=64, transfer=transfer)
        one.set_target([face])
        shape = in_mean_pose(one.retargeter(DriverRest.given(rest))(rest))[1]
        return shape[14, 1] - shape[13, 1]

    assert lips_apart("transformer") < 0.6 * lips_apart("relative")


@pytest.mark.parametrize("transfer", ["parts", "relative", "transformer"])
def test_the_head_turns_to_the_drivers_angles(face, transfer):
    meshes = read_motion(shipped_motions()["talk"]).mesh_px
    turned = {}
    for head_movement in Head:
        one = Reenactor("warp", size=64, transfer=transfer, head=head_movement)
        one.set_target([face])
        shown = one.retargeter(DriverRest.given(meshes[0]))(meshes[20])
        turned[head_movement] = head_angles(shown) - head_angles(meshes[20])
    assert np.abs(turned[Head.ABSOLUTE]).max() < 3 < np.abs(turned[Head.RELATIVE]).max()
    with pytest.raises(ReenactError, match="leave out the head 'relative'"):
        Reenactor("warp", transfer="absolute", head="relative")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """Folder of a landmark transformer of 68 points that looks at pictures, with random weights."""
    torch.manual_seed(0)
    made = LandmarkTransformer(LandmarkTransformerConfig(points="ibug68", image="resnet50", image_size=64, hidden=0))
    made.mean.copy_(torch.from_numpy(made.points.mean))
    made.basis.normal_(0, 0.01)
    folder = tmp_path_factory.mktemp("seeing")
    write_checkpoint(folder, made.checkpoint())
    return folder


@pytest.fixture
def crops_seen(monkeypatch):
    """The crops that transformers are given of drivers."""
    crops = []
    transform = LandmarkTransformer.transform

    def spied(self, identity, driver, images=None):
        crops.extend((images.permute(0, 2, 3, 1).numpy() + 1) * 127.5)
        return transform(self, identity, driver, images)

    monkeypatch.setattr(LandmarkTransformer, "transform", spied)
    return crops


def test_a_transformer_sees_the_drivers_face_in_files_and_live(face, video, pictures, seeing, crops_seen, tmp_path):
    one = Reenactor("warp", size=64, transfer="transformer", transformer=seeing)
    one.set_target([face, face])
    found = {"file": list(one.drive(video)), "pictures": list(one.drive(pictures))}
    with one.live(smooth=False, mirror=True) as live:
        found["mirrored"] = [live.step(np.ascontiguousarray(p[:, ::-1]), i / 25) for i, p in enumerate(pictures)]
    write_image(tmp_path / "me.png", face)
    options = Options("warp", transfer="transformer", transformer=seeing, size=64, provenance=False)
    animate([tmp_path / "me.png"], video, tmp_path / "out.mp4", options)
    assert len(crops_seen) == 4 * FRAMES
    file, as_they_come, mirrored, job = (crops_seen[i : i + FRAMES] for i in range(0, 4 * FRAMES, FRAMES))
    # It is her own head that drives, so crops are those of her photo, moved.
    own = one._transformer.crop(face, one.target.crop.to_picture(one.target.mesh_px))
    for number in range(FRAMES):
        assert psnr(file[number], own) > 18
        assert psnr(file[number], as_they_come[number]) > 25
        assert psnr(as_they_come[number], mirrored[number]) > 25
        np.testing.assert_array_equal(file[number], job[number])
    assert min(psnr(a, b) for a, b in zip(file, file[6:], strict=False)) < 40
    apart = [np.abs(a.mesh_px - b.mesh_px)[:, :2].mean() for a, b in zip(*list(found.values())[:2], strict=True)]
    assert max(apart) < 3


def test_a_motion_has_no_pictures_to_look_at(face, motion, seeing, tmp_path):
    one = Reenactor("warp", size=64, transfer="transformer", transformer=seeing)
    one.set_target([face])
    write_motion(tmp_path / "a.motion", motion)
    write_image(tmp_path / "me.png", face)
    options = Options("warp", transfer="transformer", transformer=seeing, size=64, provenance=False)
    for drive in (
        lambda: one.drive(motion),
        lambda: one.drive(tmp_path / "a.motion"),
        lambda: animate([tmp_path / "me.png"], tmp_path / "a.motion", tmp_path / "out.mp4", options),
    ):
        with pytest.raises(ReenactError, match="looks at the driver's pictures, and a motion has none; give a video"):
            drive()
    assert not list(tmp_path.glob("out*"))


def test_a_trained_model_gets_its_maps_and_its_size(face, motion, tmp_path):
    config = MarioNETteConfig(resolution=96, base_width=4, max_width=8, levels=2, blender_blocks=1)
    model = MarioNETte(config)
    checkpoint = Checkpoint("marionette", config.model_dump(mode="json"), model.state_dict())
    write_checkpoint(tmp_path, checkpoint)
    one = Reenactor("marionette", weights=tmp_path)
    one.set_target([face, face])
    drawn = next(one.drive(motion))
    assert drawn.face.shape == (96, 96, 3)
    assert drawn.image.shape == face.shape
    larger = Reenactor("marionette", weights=tmp_path, size=128)
    larger.set_target([face])
    assert next(larger.drive(motion)).face.shape == (128, 128, 3)


def test_transformers_that_cannot_be_used(tmp_path):
    with pytest.raises(ReenactError, match="choose that"):
        Reenactor("warp", transformer=tmp_path)
    with pytest.raises(CheckpointError, match="holds no weights"):
        Reenactor("warp", transfer="transformer", transformer=tmp_path)
    with pytest.raises(ReenactError, match="has its own"):
        Reenactor(Reenactor("warp").model, weights=tmp_path)


def test_errors(face, motion, tmp_path, unchecked):
    with pytest.raises(ReenactError, match="no target yet"):
        Reenactor("warp").drive(motion)
    with pytest.raises(ReenactError, match="warp"):
        Reenactor("nobody")
    with pytest.raises(ReenactError, match="multiple of 32"):
        Reenactor("warp", size=100)
    with pytest.raises(ReenactError, match="at least 64"):
        Reenactor("warp", max_side=10)
    with pytest.raises(ReenactError, match="one of parts, relative, absolute, transformer, not sideways"):
        Reenactor("warp", transfer="sideways")
    one = Reenactor("warp", size=64)
    for photos in ([], [face] * 9):
        with pytest.raises(ReenactError, match="photos were given"):
            one.set_target(photos)
    for single in (face, Image.fromarray(face), "photo.png", tmp_path / "photo.png"):
        with pytest.raises(ReenactError, match="takes a list"):
            one.set_target(single)
    with pytest.raises(ReenactError, match="photo 2 must be a path, a Pillow picture or an array of pixels, not int"):
        one.set_target([face, 5])
    with pytest.raises(ReenactError, match="takes a list of photos, and NoneType"):
        one.set_target(None)
    with pytest.raises(ReenactError, match="does not exist"):
        one.set_target([tmp_path / "photo.png"])
    with pytest.raises(NoFaceError, match="photo 2"):
        one.set_target([face, np.full((64, 64, 3), 90, np.uint8)])
    with pytest.raises(NoFaceError, match="photo 1"):
        one.set_target([np.zeros((1, 1, 3), np.uint8)])
    with pytest.raises(ValueError, match="uint8"):
        one.set_target([face.astype(np.float32)])
    one.set_target([face])
    with pytest.raises(ReenactError, match="does not exist"):
        next(one.drive(tmp_path / "film.mp4"))
    with pytest.raises(ReenactError, match="does not exist"):
        next(one.drive(tmp_path / "m.motion"))
    with pytest.raises(ValueError, match="uint8"):
        next(one.drive(face[..., 0]))
    for nothing in (None, 5):
        with pytest.raises(ReenactError, match="a driver is"):
            one.drive(nothing)
    for fps in (0, -25, float("nan"), float("inf")):
        with pytest.raises(ReenactError, match="fps must be more than 0"):
            one.drive([face], fps=fps)
    with pytest.raises(ReenactError, match="from 1"):
        one.drive([face], driver_face=0)
    for one_face in (motion, tmp_path / "m.motion"):
        with pytest.raises(ReenactError, match="one face"):
            one.drive(one_face, driver_face=1)


def test_motion_without_a_face(reenactor, motion):
    with pytest.raises(NoFaceError, match="none of the driver's 12 frames"):
        next(reenactor.drive(replace(motion, seen=np.zeros(FRAMES, bool))))


@pytest.mark.parametrize("kind", ["video", "photo", "as they come"])
def test_a_face_of_the_driver_is_chosen(kind, reenactor, pictures, tmp_path):
    """Two people side by side: the one on the right tilts the head, the one on the left does not."""
    turn = cv2.getRotationMatrix2D((128, 128), -20, 1)  # clockwise, a positive roll
    tilted = cv2.warpAffine(pictures[0], turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    two = np.concatenate([pictures[0], tilted], axis=1)
    driver = [two] * 3
    if kind == "video":
        driver = tmp_path / "two.mp4"
        with VideoWriter(driver, size=(512, 256), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
            for number in range(3):
                writer.write(two, number)
    if kind == "photo":
        driver = tmp_path / "two.png"
        write_image(driver, two)

    def roll_deg(mesh):
        x, y = (mesh[263] - mesh[33])[:2]
        return np.degrees(np.arctan2(y, x))

    rolls = {}
    for face in (1, 2):
        shown = [f.mesh_px for f in reenactor.drive(driver, neutral=pictures[0], driver_face=face)]
        assert len(shown) == (1 if kind == "photo" else 3)
        rolls[face] = roll_deg(shown[-1]) - roll_deg(reenactor.target.mesh_px)
    assert rolls[1] == pytest.approx(0, abs=3)
    assert rolls[2] == pytest.approx(20, abs=4)


def test_photos_of_someone_else_are_numbered(face):
    stranger = np.uint8(np.rint(255 * lfw_subset()[0]))
    stranger = np.pad(cv2.resize(stranger, (200, 200), interpolation=cv2.INTER_CUBIC), 60, mode="edge")
    stranger = np.repeat(stranger[..., None], 3, axis=2)
    one = Reenactor("warp", size=64)
    mirrored = np.ascontiguousarray(face[:, ::-1])
    assert one.set_target([face, mirrored, stranger, face, stranger]).other_people == (3, 5)
    assert one.set_target([stranger, face]).other_people == (2,)
    assert one.set_target([face, mirrored]).other_people == ()


def test_one_photo_is_compared_with_nothing(face, monkeypatch):
    """It would cost 0.2 s."""
    monkeypatch.setattr("reenactor.engine.portrait.IdentityEmbedder", None)
    assert Reenactor("warp", size=64).set_target([face]).other_people == ()


def test_a_live_driver_is_not_smeared_across_a_gap(reenactor, pictures, monkeypatch):
    """After the gap the face is elsewhere in the picture; smoothed, it would come from where it was."""
    monkeypatch.setattr("reenactor.face.retarget.moderation.EASE_S", 1e-6)
    wall = np.full_like(pictures[0], 90)
    aside = np.roll(pictures[5], 12, axis=1)
    driver = [*pictures[:3], wall, aside]
    plain = [frame.mesh_px for frame in reenactor.drive(driver, neutral=pictures[0])]
    smooth = [frame.mesh_px for frame in reenactor.drive(driver, neutral=pictures[0], smooth=True)]
    assert np.abs(smooth[2] - plain[2]).max() > 0.01
    np.testing.assert_array_equal(smooth[3], smooth[2])
    np.testing.assert_allclose(smooth[4], plain[4], atol=1e-3)


def test_a_runtime_is_asked_for_its_model(face, monkeypatch):
    """That it draws the same is tested where it is made (tests/engine/runtimes)."""
    asked = []

    def fast(model, runtime, device):
        asked.append((model.name, runtime, device.type))
        return ready

    ready = Reenactor("warp").model
    monkeypatch.setattr("reenactor.engine.loading.fast_model", fast)
    one = Reenactor("hybrid", runtime="openvino", size=64, device="cpu")
    assert asked == [("hybrid", "openvino", "cpu")]
    assert one.model is ready
    Reenactor("warp", runtime="torch")
    assert len(asked) == 1
    with pytest.raises(ReenactError, match="has its own"):
        Reenactor(ready, runtime="auto")
    with pytest.raises(ReenactError, match="a device can only be chosen"):
        Reenactor(ready, device="cpu")


def test_a_runtime_that_is_none():
    with pytest.raises(ReenactError, match="abacus"):
        Reenactor("warp", runtime="abacus")


@pytest.mark.parametrize("kind", ["warp", "marionette"])
def test_threads_draw_the_same_as_one(kind, face, motion):
    model = kind
    if kind == "marionette":
        model = MarioNETte(
            MarioNETteConfig(resolution=64, base_width=4, max_width=8, levels=2, blender_blocks=1)
        ).eval()
    one = Reenactor(model, size=64)
    one.set_target([face])
    wanted = list(one.target_meshes(Track.of_motion(motion)))
    alone = [one.draw(mesh) for mesh in wanted]
    with prefetch(iter(wanted), one.draw, threads=3) as drawn:
        for a, b in zip(alone, drawn, strict=True):
            np.testing.assert_array_equal(a, b)


def test_threads_are_shared_out():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        with _drawing_threads(Reenactor("warp").model) as (threads, batch):
            assert batch == 1
            assert threads == min(4, os.cpu_count())
            assert torch.get_num_threads() == 8 // threads
        assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
