"""`reenactor person`: made, looked at, animated; and what is refused."""

import pytest

from reenactor.media import VideoReader, read_person


def test_made_looked_at_and_animated(reenactor, photo, clip, motion, tmp_path):
    file = tmp_path / "me.person"
    code, said, told = reenactor("person", clip, photo, "-o", file, "--still", 3)
    assert code == 0, told
    assert f"{file}: " in said
    assert "frame 3 is the one that moves" in said
    assert f"{photo.name}: 1 picture" in said
    assert "record this, too" in said
    assert f"reenactor animate --target {file}" in said
    assert [one.name for one in read_person(file).sources] == [clip.name, photo.name]
    code, again, told = reenactor("person", file)
    assert (code, told) == (0, "")
    assert again.strip() in said
    result = tmp_path / "out.mp4"
    options = ("--model", "warp", "--size", 64, "--no-provenance")
    code, said, told = reenactor("animate", "--target", file, "--driver", motion, "-o", result, *options)
    assert code == 0, told
    with VideoReader(result) as reader:
        assert sum(1 for _ in reader) > 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("CLIP",), "give -o NAME.person"),
        (("CLIP", "-o", "me.mp4"), "me.mp4 should end in .person"),
        (("CLIP", "-o", "none/me.person"), "there is no folder"),
        (("none.mp4", "-o", "me.person"), "none.mp4"),
        (("none.person",), "does not exist"),
        (("CLIP", "-o", "me.person", "--face", 0), "1"),
        (("CLIP", "-o", "me.person", "--still", 9999), "there is no frame 9999"),
        (("PHOTO", "-o", "me.person", "--still", 0), "the first target is a photo"),
    ],
)
def test_refused_in_one_sentence(reenactor, photo, clip, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    code, said, told = reenactor("person", *({"CLIP": clip, "PHOTO": photo}.get(one, one) for one in arguments))
    assert (code, said) == (2, "")
    assert told.splitlines()[-1].startswith("reenactor: ")
    assert reason in told
    assert not list(tmp_path.iterdir())
