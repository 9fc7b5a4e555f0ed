"""Provenance: signed C2PA manifests that say that a file is synthetic, and what made it of which inputs.

docs/provenance.md is the page for users. Nothing here uses the network.
"""

from __future__ import annotations

import datetime as dt
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal

import c2pa

from reenactor.core import MediaError, ReenactError
from reenactor.core.files import check_readable, replacing, sha256
from reenactor.media.certificates import OFFLINE_SETTINGS, SELF_MADE_ORGANIZATIONS, Credentials

_MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
}
_SYNTHESIS_LABELS = ("org.reenactor.synthesis", "org.reenact.synthesis")
"""New files use the first label; older versions used the second."""
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SYNTHETIC_TYPES = {
    _IPTC + name
    for name in (
        "trainedAlgorithmicMedia",
        "compositeWithTrainedAlgorithmicMedia",
        "compositeSynthetic",
        "algorithmicMedia",
    )
}
_STATEMENT = "Synthetic: a photo of a face was animated by software; these movements were not recorded."

# Hashing a video as one piece takes as much memory as the video, up to 512 MB; in pieces it takes 10 MB. Pieces are
# less common, so only large files use them.
_PIECES_ABOVE_BYTES = 64 * 2**20
_PIECE_KB = 1024


class Synthesis(Enum):
    """How a face was animated, as the IPTC digital source type that describes it best."""

    TRAINED = _IPTC + "compositeWithTrainedAlgorithmicMedia"
    """A trained model drew the face ("Edited using Generative AI")."""
    UNTRAINED = _IPTC + "compositeSynthetic"
    """A classical warp moved the photo's own pixels. IPTC's "algorithmically altered" would look like retouching; among
    the types that verifiers show as synthetic, this one names no trained model."""


@dataclass(frozen=True)
class SourceFile:
    """An input of an output file: its role, its name without the folder, and the SHA-256 of its content."""

    role: Literal["target", "driver"]
    name: str
    sha256: str

    @classmethod
    def of(cls, role: Literal["target", "driver"], path: str | os.PathLike[str]) -> SourceFile:
        """Hash a file.

        Raises:
            MediaError: the file cannot be read.
        """
        try:
            return cls(role, Path(path).name, sha256(Path(path)))
        except OSError as error:
            raise MediaError(f"cannot read {path} ({error.strerror}); check the name") from error


@dataclass(frozen=True)
class Claim:
    """What an output says about itself.

    Args:
        title: the output's file name.
        model: name of the model, as in `models.METHODS`.
        model_version: version of the method, or the SHA-256 of its weights.
        inputs: the targets, then the driver.
        synthesis: whether a trained model drew the face.
        options: those that are not the usual ones, as texts by name; None if they are not known.
    """

    title: str
    model: str
    model_version: str
    inputs: tuple[SourceFile, ...]
    synthesis: Synthesis
    options: Mapping[str, str] | None = None


class Trust(Enum):
    """How far the certificate can be trusted; the values are sentences for users."""

    TRUSTED = "issued by an authority on the trust list that was given"
    SELF_MADE = "self-made by reenactor: it shows that the file was not changed since, not who made it"
    UNKNOWN = "from an issuer that is not on the trust list"


@dataclass(frozen=True)
class ProvenanceReport:
    """What a file says about its origin. Texts come from the signer, without control characters.

    Args:
        signed: the file has a manifest, intact or not.
        valid: signature, content and certificate are all valid.
        tampered: content or manifest changed after signing, so no other field can be relied upon.
        trust: who issued the certificate; None if the signature is not valid.
        signer: organization in the certificate.
        software: name and version of the program that signed.
        title: the file's name when it was signed.
        model: name of the model.
        model_version: version of the model, or the SHA-256 of its weights.
        inputs: the files that it was made of.
        options: how it was made, where that is not as usual; None if the file does not say.
        source_type: IPTC digital source type.
        created: time of signing by the signer's clock.
        issues: problems, one sentence each.
    """

    signed: bool
    valid: bool = False
    tampered: bool = False
    trust: Trust | None = None
    signer: str | None = None
    software: str | None = None
    title: str | None = None
    model: str | None = None
    model_version: str | None = None
    inputs: tuple[SourceFile, ...] = ()
    options: Mapping[str, str] | None = None
    source_type: str | None = None
    created: dt.datetime | None = None
    issues: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether the file says that it is synthetic, in whole or in part."""
        return self.source_type in _SYNTHETIC_TYPES


def supports(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this suffix can hold a signature."""
    return Path(path).suffix.lower() in _MIME_TYPES


def sign(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    claim: Claim,
    credentials: Credentials,
) -> None:
    """Write a signed copy of `source`; pixels and packets stay as they are.

    Args:
        source: a finished file in the format of `output`'s suffix. A manifest in it is replaced.
        output: written atomically; may be `source` itself.
        claim: what the copy says about itself.
        credentials: the signer's.

    Raises:
        MediaError: the format cannot hold a signature (see `supports`), or a file cannot be read or written.
        ReenactError: the certificate is not accepted.
    """
    source, output = Path(source), Path(output)
    if not supports(output):
        raise MediaError(
            f"{output.name} cannot carry a signature: C2PA does not support {output.suffix or 'such'} files;"
            f" choose one of {', '.join(_MIME_TYPES)}, or pass --no-provenance"
        )
    check_readable(source, "an image or video")
    mime = _MIME_TYPES[output.suffix.lower()]
    with replacing(output) as temporary, source.open("rb") as reading, temporary.open("w+b") as writing:
        settings = _signing_settings(reading, mime)
        try:
            builder = c2pa.Builder(_manifest(claim), context=c2pa.Context.from_dict(settings))
            builder.sign(credentials.signer(), mime, reading, writing)
        except c2pa.C2paError as error:
            if _kind(error) == "Signature":
                raise ReenactError(
                    f"cannot sign {output} ({error}); check that the certificate is valid and for signing"
                ) from error
            raise MediaError(
                f"cannot sign {output} ({error}); check that {source} is a whole {mime} file and the disk has room"
            ) from error
        writing.flush()
        # A signature that does not verify would make the file look tampered with.
        if not _read_stream(writing, mime, trust_anchors_pem=None).valid:
            raise ReenactError(f"the new signature of {output} does not verify; please report this")


def read(path: str | os.PathLike[str], *, trust_anchors_pem: bytes | None = None) -> ProvenanceReport:
    """Read what a file says about its origin, and check it.

    Args:
        path: an image or video that can hold a signature, signed by any program.
        trust_anchors_pem: certificates of the authorities to trust, such as C2PA's trust list.

    Raises:
        MediaError: the file cannot be read, or is not such an image or video.
    """
    path = Path(path)
    check_readable(path, "an image or video")
    with path.open("rb") as stream:
        try:
            return _read_stream(stream, _MIME_TYPES.get(path.suffix.lower()), trust_anchors_pem=trust_anchors_pem)
        except c2pa.C2paError as error:
            raise MediaError(
                f"{path} is damaged, or not an image or video that can hold a signature"
                f" ({', '.join(_MIME_TYPES)}); check that it is the right file"
            ) from error


def render(report: ProvenanceReport) -> str:
    """The report as a few lines of text; the first is the verdict."""
    if not report.signed:
        return "\n".join(["Not signed: the file says nothing about its origin.", *report.issues])
    if report.tampered:
        verdict = "TAMPERED WITH: changed after it was signed; nothing below can be relied upon."
    elif report.valid:
        verdict = "Signed, and unchanged since."
    else:
        verdict = "Signed and unchanged since, but the certificate does not hold."
    facts = {
        "Synthetic": "yes, the file says so" if report.synthetic else "the file does not say so",
        "Title": report.title,
        "Software": report.software,
        "Model": " ".join(filter(None, (report.model, report.model_version))) or None,
        "Options": ", ".join(f"{name} {value}" for name, value in (report.options or {}).items()),
        "Signed on": f"{report.created:%Y-%m-%d %H:%M} UTC by the signer's clock" if report.created else None,
        "Signer": report.signer,
        "Certificate": report.trust.value if report.trust else None,
    }
    lines = [verdict]
    lines += [f"{name + ':':<13}{value}" for name, value in facts.items() if value]
    lines += [f"{one.role.capitalize() + ':':<13}{one.name}  SHA-256 {one.sha256}" for one in report.inputs]
    return "\n".join(lines + [f"{'Note:':<13}{issue}" for issue in report.issues])


def _manifest(claim: Claim) -> dict[str, Any]:
    software = {"name": "reenactor", "version": metadata.version("reenactor")}
    action = {
        "action": "c2pa.created",
        "when": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "digitalSourceType": claim.synthesis.value,
        "softwareAgent": software,
        "description": _STATEMENT,
    }
    synthesis = {
        "synthetic": True,
        "statement": _STATEMENT,
        "model": claim.model,
        "model_version": claim.model_version,
        "inputs": [{"role": one.role, "name": one.name, "sha256": one.sha256} for one in claim.inputs],
    }
    if claim.options is not None:
        synthesis["options"] = dict(claim.options)
    return {
        "title": claim.title,
        "claim_generator_info": [software],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}, "created": True},
            {"label": _SYNTHESIS_LABELS[0], "data": synthesis, "created": True},
        ],
        # The same for viewers that do not know our own assertion.
        "ingredients": [
            {"title": one.name, "relationship": "inputTo", "description": f"{one.role}, SHA-256 {one.sha256}"}
            for one in claim.inputs
        ],
    }


def _signing_settings(file: BinaryIO, mime: str) -> dict[str, Any]:
    in_pieces = (
        mime.startswith("video/")
        and os.fstat(file.fileno()).st_size > _PIECES_ABOVE_BYTES
        # With several `mdat` boxes (fragmented files) c2pa 0.91.3 signs pieces that it then rejects itself.
        and sum(kind == b"mdat" for kind in _boxes(file)) == 1
    )
    core = {"merkle_tree_chunk_size_in_kb": _PIECE_KB if in_pieces else None}
    return {**OFFLINE_SETTINGS, "core": {**OFFLINE_SETTINGS["core"], **core}}


def _boxes(file: BinaryIO) -> Iterator[bytes]:
    """Kinds of the top-level boxes of an ISO media file; leaves `file` at its start."""
    end, start = os.fstat(file.fileno()).st_size, 0
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:  # the length follows in 64 bits
            size = int.from_bytes(file.read(8), "big")
        yield kind
        start = end if size < 8 else start + size  # 0 means "to the end"
    file.seek(0)


def _read_stream(stream: BinaryIO, mime: str | None, *, trust_anchors_pem: bytes | None) -> ProvenanceReport:
    settings: dict[str, Any] = dict(OFFLINE_SETTINGS)
    if trust_anchors_pem is not None:
        settings["trust"] = {"trust_anchors": trust_anchors_pem.decode()}
    stream.seek(0)
    try:
        with c2pa.Reader(mime, stream, context=c2pa.Context.from_dict(settings)) as reader:
            manifest = reader.get_active_manifest() or {}
            results = reader.get_validation_results() or {}
            state = reader.get_validation_state()
    except c2pa.C2paError as error:
        return _unreadable(error)
    except (KeyError, ValueError):  # c2pa's, for a store that lacks the manifest it names, or is no JSON
        return _damaged()
    failures = [str(one.get("code")) for one in results.get("activeManifest", {}).get("failure", ())]
    return _report(manifest, failures, state)


def _unreadable(error: c2pa.C2paError) -> ProvenanceReport:
    """A missing, remote or damaged manifest gives a report; anything else stays an error."""
    kind = _kind(error)
    if kind == "ManifestNotFound":
        return ProvenanceReport(signed=False)
    if kind == "Remote":
        return ProvenanceReport(
            signed=False,
            issues=("The file names a signature on a web site; reenactor does not fetch it.",),
        )
    if kind in ("NotSupported", "Io") or "could not be parsed" in str(error):
        raise error
    return _damaged()


def _damaged() -> ProvenanceReport:
    return ProvenanceReport(signed=True, tampered=True, issues=("The signed statement itself is damaged.",))


def _kind(error: c2pa.C2paError) -> str:
    # c2pa adds subclasses of C2paError at run time, which type checkers do not see; "Remote" has none.
    return str(error).partition(":")[0]


def _report(manifest: dict[str, Any], failures: list[str], state: str | None) -> ProvenanceReport:
    tampered = any(not code.startswith(("signingCredential.", "timeStamp.")) for code in failures)
    valid = state in ("Valid", "Trusted") and not tampered
    # `trust` says in full what "untrusted" means.
    codes = [code for code in dict.fromkeys(failures) if code != "signingCredential.untrusted"]
    issuer = _text(_mapping(manifest.get("signature_info")).get("issuer"))
    if not valid:
        trust = None
    elif state == "Trusted":
        trust = Trust.TRUSTED
    else:
        trust = Trust.SELF_MADE if issuer in SELF_MADE_ORGANIZATIONS else Trust.UNKNOWN
    generator = _first(manifest.get("claim_generator_info"))
    software = (_text(generator.get("name")), _text(generator.get("version")))
    action = _first(_assertion(manifest, "c2pa.actions").get("actions"))
    synthesis = _assertion(manifest, *_SYNTHESIS_LABELS)
    return ProvenanceReport(
        signed=True,
        valid=valid,
        tampered=tampered,
        trust=trust,
        signer=issuer,
        software=" ".join(filter(None, software)) or None,
        title=_text(manifest.get("title")),
        model=_text(synthesis.get("model")),
        model_version=_text(synthesis.get("model_version")),
        inputs=tuple(_inputs(synthesis.get("inputs"))),
        options=_options(synthesis.get("options")),
        source_type=_text(action.get("digitalSourceType")),
        created=_time(action.get("when")),
        issues=tuple(f"{_ISSUES.get(code, 'A check failed')} ({code})." for code in codes),
    )


_ISSUES = {
    "assertion.dataHash.mismatch": "The image is not the one that was signed",
    "assertion.bmffHash.mismatch": "The video is not the one that was signed",
    "assertion.hashedURI.mismatch": "The signed statement was changed",
    "claimSignature.mismatch": "The signature does not fit the statement",
    "claimSignature.missing": "The signature is missing",
    "signingCredential.expired": "The signer's certificate has expired",
    "signingCredential.invalid": "The signer's certificate is not valid",
}


def _assertion(manifest: dict[str, Any], *labels: str) -> dict[str, Any]:
    """Data of the first assertion with one of these labels, of any version (".v2" after the label)."""
    found = manifest.get("assertions")
    for one in map(_mapping, found if isinstance(found, list) else ()):
        if str(one.get("label", "")).split(".v")[0] in labels:
            return _mapping(one.get("data"))
    return {}


def _inputs(value: object) -> Iterator[SourceFile]:
    for one in value if isinstance(value, list) else ():
        entry = _mapping(one)
        role, name, sha256 = (_text(entry.get(key)) for key in ("role", "name", "sha256"))
        if role in ("target", "driver") and name and sha256:
            yield SourceFile(role, name, sha256)  # pyright: ignore[reportArgumentType]


def _options(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    texts = ((_text(name), _text(one)) for name, one in value.items())
    return {name: one for name, one in texts if name and one}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> dict[str, Any]:
    return _mapping(value[0]) if isinstance(value, list) and value else {}


def _text(value: object) -> str | None:
    """Text from a manifest, which anybody can write: no control characters for the terminal, 300 characters at most."""
    if not isinstance(value, str):
        return None
    return "".join(c if c.isprintable() else "?" for c in value[:300]) or None


def _time(value: object) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(value).replace("Z", "+00:00")).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
