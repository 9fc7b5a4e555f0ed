"""Signing, reading and tampering, with real pictures and a small real video."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.server
import io
import os
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut

from reenactor.core import MediaError, ReenactError
from reenactor.media import certificates, provenance, read_image
from reenactor.media.certificates import Credentials, config_folder, load_credentials, own_credentials
from reenactor.media.provenance import Claim, SourceFile, Synthesis, Trust, read, render, sign

PEM = serialization.Encoding.PEM
FORMATS = ("a.mp4", "a.mov", "a.gif", "a.webp", "a.jpg", "a.png")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory) -> Credentials:
    return own_credentials(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """One unsigned file of every format."""
    folder = tmp_path_factory.mktemp("unsigned")
    picture = Image.fromarray(astronaut()[:256, 96:352])
    later = Image.fromarray(np.roll(np.asarray(picture), 5, axis=1))
    for name in ("a.jpg", "a.png"):
        picture.save(folder / name)
    for name in ("a.gif", "a.webp"):
        picture.save(folder / name, save_all=True, append_images=[later], duration=40)
    for name in ("a.mp4", "a.mov"):
        write_video(folder / name)
    write_video(folder / "fragmented.mp4", movflags="frag_keyframe+empty_moov")
    return folder


def write_video(path: Path, **options: str) -> None:
    pixels = astronaut()[:128, 128:256]
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        stream.gop_size = 4
        for shift in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(pixels, shift, 1))))
        container.mux(stream.encode())


def claim(folder: Path, **changes) -> Claim:
    inputs = (SourceFile.of("target", folder / "a.png"), SourceFile.of("driver", folder / "a.mp4"))
    return replace(Claim("out", "warp", "1", inputs, Synthesis.UNTRAINED), **changes)


def content(path: Path) -> list[bytes]:
    if path.suffix in (".mp4", ".mov"):
        with av.open(str(path)) as container:
            return [bytes(p) + str((p.pts, p.dts)).encode() for p in container.demux() if p.size]
    with Image.open(path) as picture:
        frames = []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append(picture.convert("RGB").tobytes())
        return frames


@pytest.mark.parametrize("name", [*FORMATS, "fragmented.mp4"])
def test_round_trip_in_every_format(name, files, credentials, tmp_path):
    sign(files / name, tmp_path / name, claim(files), credentials)
    report = read(tmp_path / name)
    assert report.signed
    assert report.valid
    assert not report.tampered
    assert report.synthetic
    assert report.trust is Trust.SELF_MADE
    assert (report.model, report.model_version, report.title) == ("warp", "1", "out")
    assert report.software is not None
    assert report.software.startswith("reenactor ")
    assert report.issues == ()
    assert report.created is not None
    assert abs(report.created - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    driver_hash = hashlib.sha256((files / "a.mp4").read_bytes()).hexdigest()
    assert [one.role for one in report.inputs] == ["target", "driver"]
    assert report.inputs[1] == SourceFile("driver", "a.mp4", driver_hash)
    assert content(tmp_path / name) == content(files / name)
    assert [one.name for one in tmp_path.iterdir()] == [name], "temporary files stay behind"
    text = render(report)
    for word in ("unchanged since", "yes, the file says so", "warp 1", "a.mp4", driver_hash, "self-made"):
        assert word in text


def test_a_trained_model_says_edited_with_generative_ai(files, credentials, tmp_path):
    sign(files / "a.png", tmp_path / "a.png", claim(files, synthesis=Synthesis.TRAINED), credentials)
    report = read(tmp_path / "a.png")
    assert report.source_type is not None
    assert report.source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert report.synthetic


@pytest.mark.parametrize("name", FORMATS)
def test_a_flipped_bit_is_seen_and_nothing_is_printed(name, files, credentials, tmp_path, capfd):
    sign(files / name, tmp_path / name, claim(files), credentials)
    data = (tmp_path / name).read_bytes()
    at = len(data) // 2 if name.startswith("a.m") else len(data) - 2000
    forged = tmp_path / f"forged{Path(name).suffix}"
    forged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    report = read(forged)
    assert report.signed
    assert report.tampered
    assert not report.valid
    assert report.trust is None
    assert "TAMPERED WITH" in render(report)
    assert capfd.readouterr() == ("", "")


def test_a_changed_or_damaged_statement_is_tampering(files, credentials, tmp_path):
    sign(files / "a.png", tmp_path / "a.png", claim(files), credentials)
    data = (tmp_path / "a.png").read_bytes()
    assert b"warp" in data
    (tmp_path / "renamed.png").write_bytes(data.replace(b"warp", b"none"))
    report = read(tmp_path / "renamed.png")
    assert report.tampered
    assert any("hashedURI" in issue for issue in report.issues)
    (tmp_path / "broken.png").write_bytes(data.replace(b"jumd", b"jumx"))
    report = read(tmp_path / "broken.png")
    assert (report.signed, report.tampered, report.valid) == (True, True, False)


def test_pieces_for_large_videos(files, credentials, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_PIECES_ABOVE_BYTES", 0)
    monkeypatch.setattr(provenance, "_PIECE_KB", 1)
    for name in ("a.mp4", "a.mov", "fragmented.mp4"):
        sign(files / name, tmp_path / name, claim(files), credentials)
        assert read(tmp_path / name).valid
        assert content(tmp_path / name) == content(files / name)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[len(data) * 3 // 4] ^= 1
    (tmp_path / "a.mp4").write_bytes(data)
    assert read(tmp_path / "a.mp4").tampered


def test_signing_in_place_and_again_replaces_the_manifest(files, credentials, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes((files / "a.png").read_bytes())
    sign(path, path, claim(files), credentials)
    first = path.stat().st_size
    sign(path, path, claim(files), credentials)
    assert read(path).valid
    assert abs(path.stat().st_size - first) < 100


def test_unsigned_and_unfit_files(files, credentials, tmp_path):
    report = read(files / "a.mp4")
    assert not report.signed
    assert "says nothing" in render(report)
    note = tmp_path / "note.png"
    note.write_text("hello" * 100)
    for unfit, words in [
        (note, "not an image or video"),
        (tmp_path / "none.png", "does not exist"),
        (tmp_path, "folder"),
    ]:
        with pytest.raises(MediaError, match=words):
            read(unfit)
    assert not provenance.supports("a.mkv")
    assert provenance.supports("a.MP4")
    with pytest.raises(MediaError, match=r"does not support \.mkv"):
        sign(files / "a.mp4", tmp_path / "a.mkv", claim(files), credentials)
    with pytest.raises(MediaError, match="whole image/png file"):
        sign(note, tmp_path / "b.png", claim(files), credentials)
    assert not (tmp_path / "b.png").exists()


def test_a_signature_kept_on_the_web_is_not_fetched(files, credentials, tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with c2pa.Builder(provenance._manifest(claim(files))) as builder:
            builder.set_no_embed()
            builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/a.c2pa")
            out = io.BytesIO()
            builder.sign(credentials.signer(), "image/png", io.BytesIO((files / "a.png").read_bytes()), out)
        (tmp_path / "a.png").write_bytes(out.getvalue())
        report = read(tmp_path / "a.png")
    finally:
        server.shutdown()
        server.server_close()
    assert not report.signed
    assert "does not fetch" in render(report)
    assert asked == []


def test_words_of_strangers_reach_no_terminal_raw(files, credentials, tmp_path):
    hostile = replace(claim(files, model_version="\x1b[31m" + "x" * 1000), options={"a\x1b[1m": "\x07" * 400})
    sign(files / "a.png", tmp_path / "a.png", hostile, credentials)
    text = render(read(tmp_path / "a.png"))
    assert "\x1b" not in text
    assert len(text) < 1500


def test_own_credentials_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("REENACTOR_HOME", str(tmp_path / "home"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: own_credentials(), range(8)))
    assert len({one.certificate_chain_pem for one in made}) == 1
    assert own_credentials() == made[0]
    (path,) = (tmp_path / "home").iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(made[0])
    leaf, authority = x509.load_pem_x509_certificates(made[0].certificate_chain_pem)
    leaf.verify_directly_issued_by(authority)
    assert leaf.not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=19 * 365)
    named = leaf.subject.rfc4514_string() + leaf.issuer.rfc4514_string()
    assert named.replace("reenactor", "").isascii()
    for private in (os.environ.get("USER"), os.uname().nodename if os.name == "posix" else None):
        assert not private or private not in named


def test_own_credentials_are_renewed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_YEARS", 0)
        old = own_credentials(tmp_path)
    new = own_credentials(tmp_path)
    assert new != old
    assert own_credentials(tmp_path) == new
    (path,) = tmp_path.iterdir()
    path.write_text("garbage")
    with pytest.raises(ReenactError, match="delete"):
        own_credentials(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have fixed places")
def test_config_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("REENACTOR_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_folder() == tmp_path / "reenactor"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_folder() == Path.home() / ".config" / "reenactor"


def issue(folder: Path, key, *, days: int = 30, usage=ExtendedKeyUsageOID.EMAIL_PROTECTION, own: bool = False):
    """A certificate as a small company would issue it; returns paths of chain and key, and the authority."""
    now = dt.datetime.now(dt.UTC)
    root_key = key if own else ec.generate_private_key(ec.SECP384R1())

    def name(text: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Studio"),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    def build(subject: str, public, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("Root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=40))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(certificates._usage(issues=ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )

    root = build("Root", root_key.public_key(), ca=True).sign(root_key, hashes.SHA384())
    leaf = (
        build("Root" if own else "Signer", key.public_key(), ca=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(root_key, hashes.SHA384())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(leaf.public_bytes(PEM) + (b"" if own else root.public_bytes(PEM)))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(PEM, form, serialization.NoEncryption()))
    return chain, private, root.public_bytes(PEM)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p384", "ed25519", "rsa"],
)
def test_ones_own_certificate(key, files, tmp_path):
    chain, private, root = issue(tmp_path, key)
    sign(files / "a.jpg", tmp_path / "a.jpg", claim(files), load_credentials(chain, private))
    report = read(tmp_path / "a.jpg")
    assert report.valid
    assert (report.trust, report.signer) == (Trust.UNKNOWN, "Example Studio")
    report = read(tmp_path / "a.jpg", trust_anchors_pem=root)
    assert report.valid
    assert report.trust is Trust.TRUSTED


def test_unfit_certificates_are_refused_with_a_reason(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    chain, private, _ = issue(tmp_path, key)
    other = tmp_path / "other.pem"

    def refuse(words: str, one=chain, two=private) -> None:
        with pytest.raises(ReenactError, match=words):
            load_credentials(one, two)

    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    other.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, form, plain))
    refuse("does not belong", two=other)
    other.write_bytes(key.private_bytes(PEM, form, serialization.BestAvailableEncryption(b"secret")))
    refuse("is encrypted", two=other)
    other.write_text("hello")
    refuse("no private key in PEM", two=other)
    refuse("no certificate in PEM", one=other)
    refuse("cannot read the certificate", one=tmp_path / "none.pem")
    refuse("cannot read the private key", two=tmp_path / "none.pem")
    issue(tmp_path, key, days=-1)
    refuse("expired on")
    issue(tmp_path, key, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    refuse(r"does not accept .*\(the certificate is invalid\)")
    issue(tmp_path, key, own=True)
    refuse("is self-signed")
    issue(tmp_path, ec.generate_private_key(ec.SECP256K1()))
    refuse("of a kind that C2PA does not sign with")


def test_a_missing_input_is_one_sentence(tmp_path):
    with pytest.raises(MediaError, match=r"cannot read .*none \(No such file or directory\); check the name"):
        SourceFile.of("driver", tmp_path / "none")


SIGNED = Path(__file__).with_name("signed_by_reenact.png")


@settings(max_examples=400, deadline=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_bytes_make_it_fail_or_vouch_for_other_pictures(data, tmp_path):
    whole = SIGNED.read_bytes()
    changed = bytearray(whole)
    # The signature lies near the start, and a change of one byte may still be readable.
    places = st.one_of(st.integers(37, 4600), st.integers(0, len(whole) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        changed[at] = value
    path = tmp_path / "changed.png"
    path.write_bytes(changed[: data.draw(st.one_of(st.just(len(whole)), st.integers(1, len(whole))))])
    with suppress(MediaError):
        report = read(path)
        assert all(line.isprintable() for line in render(report).splitlines())
        # Names inside the signature's own box are not signed; pictures are.
        assert not report.valid or (read_image(path) == read_image(SIGNED)).all()


def test_a_store_without_its_manifest_is_damaged(monkeypatch):
    def missing(self):
        raise KeyError("Active manifest not found in manifest store")

    monkeypatch.setattr(provenance.c2pa.Reader, "get_active_manifest", missing)
    report = read(SIGNED)
    assert (report.signed, report.tampered, report.valid) == (True, True, False)


@pytest.mark.parametrize("odd", [None, 5, "text", [5], [{"label": ["c2pa.actions"]}], {"a": 1}])
def test_statements_of_any_shape(odd, monkeypatch):
    names = ("assertions", "signature_info", "claim_generator_info", "title")
    monkeypatch.setattr(provenance.c2pa.Reader, "get_active_manifest", lambda self: dict.fromkeys(names, odd))
    assert render(read(SIGNED))


def test_files_of_the_old_name_are_recognized():
    report = read(SIGNED)
    assert (report.valid, report.trust) == (True, Trust.SELF_MADE)
    assert report.signer == "reenact (self-made certificate)"
    assert (report.model, report.model_version) == ("warp", "1")
    assert [one.role for one in report.inputs] == ["target", "driver"]
    assert report.synthetic
