"""Signed statements of origin (C2PA manifests): every output says that it is synthetic and what made it.

docs/provenance.md is the page for users. Nothing here uses the network.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal

import c2pa

from reenactor.core import MediaError, ReenactError
from reenactor.core.files import check_readable, replacing
from reenactor.media.certificates import OFFLINE_SETTINGS, SELF_MADE_ORGANIZATION, Credentials

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
_SYNTHESIS_LABEL = "org.reenactor.synthesis"
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

# Hashing a video's data as one piece takes as much memory, up to 512 MB; in pieces it takes 10. Pieces are
# the rarer way, so small files, which are most, go without.
_PIECES_ABOVE_BYTES = 64 * 2**20
_PIECE_KB = 1024


class Synthesis(Enum):
    """How a face was made to move, as the IPTC digital source type that says it best."""

    TRAINED = _IPTC + "compositeWithTrainedAlgorithmicMedia"
    """A trained model drew it ("Edited using Generative AI")."""

    UNTRAINED = _IPTC + "compositeSynthetic"
    """A classical warp moved the photo's own pixels. IPTC's "algorithmically altered" would pass for
    retouching; of the types that verifiers show as synthetic, this one names no trained model."""


@dataclass(frozen=True)
class SourceFile:
    """A file that an output was made of; its content is not embedded, only its fingerprint."""

    role: Literal["target", "driver"]
    name: str
    sha256: str

    @classmethod
    def of(cls, role: Literal["target", "driver"], path: str | os.PathLike[str]) -> SourceFile:
        """Fingerprint a file; only the last part of its path is kept.

        Raises:
            MediaError: the file cannot be read.
        """
        return cls(role, Path(path).name, sha256_file(path))


@dataclass(frozen=True)
class Claim:
    """What an output says about itself.

    Args:
        title: the output's file name.
        model: name in the zoo.
        model_version: of the method, or the SHA-256 of its weights.
        inputs: targets first, then the driver.
        synthesis: whether a trained model drew it.
        software_version: reenactor's; the installed one if not given.
    """

    title: str
    model: str
    model_version: str
    inputs: tuple[SourceFile, ...]
    synthesis: Synthesis
    software_version: str | None = None


class Trust(Enum):
    """What the certificate says about who signed."""

    TRUSTED = "issued by an authority on the trust list that was given"
    SELF_MADE = "self-made by reenactor: it shows that the file was not changed since, not who made it"
    UNKNOWN = "from an issuer that is not on the trust list"


@dataclass(frozen=True)
class ProvenanceReport:
    """What a file says about its origin. Texts are the signer's words, cleaned of control characters.

    Args:
        signed: there is a manifest in the file, intact or not.
        valid: signature, content and certificate all hold.
        tampered: the content or the manifest changed after signing; what the file says cannot be relied upon.
        trust: whose certificate it is; None where the signature does not hold.
        source_type: IPTC digital source type.
        created: as the signer's clock said.
        issues: one sentence each.
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
    source_type: str | None = None
    created: dt.datetime | None = None
    issues: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether the file says of itself that it is synthetic, in whole or in part."""
        return self.source_type in _SYNTHETIC_TYPES


def supports(path: str | os.PathLike[str]) -> bool:
    """Whether a file with this suffix can carry a signature."""
    return Path(path).suffix.lower() in _MIME_TYPES


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file of any size.

    Raises:
        MediaError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    except OSError as error:
        raise MediaError(f"cannot read {path} ({error.strerror}); check the name") from error
    return digest.hexdigest()


def sign(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    claim: Claim,
    credentials: Credentials,
) -> None:
    """Write a signed copy of `source`; pixels and packets stay as they are.

    Args:
        source: a finished file in the format that `output`'s suffix names. A manifest in it is replaced.
        output: appears whole or not at all; may be `source` itself.
        claim: what the copy says about itself.
        credentials: who signs.

    Raises:
        MediaError: the format cannot carry a signature (see `supports`), or a file cannot be read or written.
        ReenactError: the certificate is not accepted.
    """
    source, output = Path(source), Path(output)
    if not supports(output):
        raise MediaError(
            f"{output.name} cannot carry a signature: C2PA has no place for one in {output.suffix or 'such'}"
            f" files; choose one of {', '.join(_MIME_TYPES)}, or pass --no-provenance"
        )
    check_readable(source, "a picture or video")
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
        # A signature that does not verify would brand the file as tampered with for ever.
        if not _read_stream(writing, mime, trust_anchors_pem=None).valid:
            raise ReenactError(f"the new signature of {output} does not verify; please report this")


def read(path: str | os.PathLike[str], *, trust_anchors_pem: bytes | None = None) -> ProvenanceReport:
    """What a file says about its origin, and whether that can be relied upon.

    Args:
        path: any picture or video that can carry a signature, whoever signed it.
        trust_anchors_pem: certificates of the authorities to trust, such as C2PA's trust list.

    Raises:
        MediaError: the file cannot be read or is no picture or video that can carry a signature.
    """
    path = Path(path)
    check_readable(path, "a picture or video")
    with path.open("rb") as stream:
        try:
            return _read_stream(stream, _MIME_TYPES.get(path.suffix.lower()), trust_anchors_pem=trust_anchors_pem)
        except c2pa.C2paError as error:
            raise MediaError(
                f"{path} is damaged, or no picture or video that can carry a signature"
                f" ({', '.join(_MIME_TYPES)}); check that it is the right file"
            ) from error


def render(report: ProvenanceReport) -> str:
    """The report as a few lines for a person."""
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
        "Signed on": f"{report.created:%Y-%m-%d %H:%M} UTC by the signer's clock" if report.created else None,
        "Signer": report.signer,
        "Certificate": report.trust.value if report.trust else None,
    }
    lines = [verdict]
    lines += [f"{name + ':':<13}{value}" for name, value in facts.items() if value]
    lines += [f"{one.role.capitalize() + ':':<13}{one.name}  SHA-256 {one.sha256}" for one in report.inputs]
    return "\n".join(lines + [f"{'Note:':<13}{issue}" for issue in report.issues])


def _manifest(claim: Claim) -> dict[str, Any]:
    software = {"name": "reenactor", "version": claim.software_version or metadata.version("reenactor")}
    action = {
        "action": "c2pa.created",
        "when": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
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
    return {
        "title": claim.title,
        "claim_generator_info": [software],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}, "created": True},
            {"label": _SYNTHESIS_LABEL, "data": synthesis, "created": True},
        ],
        # The same again for viewers that know nothing of our own assertion.
        "ingredients": [
            {
                "title": one.name,
                "relationship": "inputTo",
                "description": f"{one.role}, SHA-256 {one.sha256}",
            }
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
    failures = [str(one.get("code")) for one in results.get("activeManifest", {}).get("failure", ())]
    return _report(manifest, failures, state)


def _unreadable(error: c2pa.C2paError) -> ProvenanceReport:
    """A manifest that is absent, elsewhere or damaged makes a report; what is no media stays an error."""
    kind = _kind(error)
    if kind == "ManifestNotFound":
        return ProvenanceReport(signed=False)
    if kind == "Remote":
        return ProvenanceReport(
            signed=False,
            issues=("The file names a signature that is kept on a web site; reenactor does not fetch it.",),
        )
    if kind in ("NotSupported", "Io") or "could not be parsed" in str(error):
        raise error
    return ProvenanceReport(signed=True, tampered=True, issues=("The signed statement itself is damaged.",))


def _kind(error: c2pa.C2paError) -> str:
    # The classes that c2pa hangs on C2paError at run time are unknown to type checkers; "Remote" has none.
    return str(error).partition(":")[0]


def _report(manifest: dict[str, Any], failures: list[str], state: str | None) -> ProvenanceReport:
    tampered = any(not code.startswith(("signingCredential.", "timeStamp.")) for code in failures)
    valid = state in ("Valid", "Trusted") and not tampered
    issues = [f"{_ISSUES.get(code, 'A check failed')} ({code})." for code in dict.fromkeys(failures)]
    untrusted = f"{_ISSUES['signingCredential.untrusted']} (signingCredential.untrusted)."
    signature = _mapping(manifest.get("signature_info"))
    issuer = _text(signature.get("issuer"))
    if not valid:
        trust = None
    elif state == "Trusted":
        trust = Trust.TRUSTED
    else:
        trust = Trust.SELF_MADE if issuer == SELF_MADE_ORGANIZATION else Trust.UNKNOWN
    generator = _first(manifest.get("claim_generator_info"))
    software = (_text(generator.get("name")), _text(generator.get("version")))
    action = _first(_assertion(manifest, "c2pa.actions").get("actions"))
    synthesis = _assertion(manifest, _SYNTHESIS_LABEL)
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
        source_type=_text(action.get("digitalSourceType")),
        created=_time(action.get("when")),
        issues=tuple(issue for issue in issues if issue != untrusted),  # `trust` says it in full
    )


_ISSUES = {
    "assertion.dataHash.mismatch": "The picture is not the one that was signed",
    "assertion.bmffHash.mismatch": "The video is not the one that was signed",
    "assertion.hashedURI.mismatch": "The signed statement was changed",
    "claimSignature.mismatch": "The signature does not fit the statement",
    "claimSignature.missing": "The signature is missing",
    "signingCredential.expired": "The signer's certificate has expired",
    "signingCredential.invalid": "The signer's certificate is not valid",
    "signingCredential.untrusted": "The issuer of the certificate is not on the trust list",
}


def _assertion(manifest: dict[str, Any], label: str) -> dict[str, Any]:
    """Data of the first assertion of this kind, whatever its version (".v2" behind the label)."""
    for one in manifest.get("assertions") or ():
        if str(one.get("label", "")).split(".v")[0] == label:
            return _mapping(one.get("data"))
    return {}


def _inputs(value: object) -> Iterator[SourceFile]:
    for one in value if isinstance(value, list) else ():
        entry = _mapping(one)
        role, name, sha256 = (_text(entry.get(key)) for key in ("role", "name", "sha256"))
        if role in ("target", "driver") and name and sha256:
            yield SourceFile(role, name, sha256)  # pyright: ignore[reportArgumentType]


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> dict[str, Any]:
    return _mapping(value[0]) if isinstance(value, list) and value else {}


def _text(value: object) -> str | None:
    """Anybody can write a manifest: no control characters may reach a terminal, and no novel."""
    if not isinstance(value, str):
        return None
    return "".join(c if c.isprintable() else "?" for c in value[:300]) or None


def _time(value: object) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(value).replace("Z", "+00:00")).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError):
        return None
