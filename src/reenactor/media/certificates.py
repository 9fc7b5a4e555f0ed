"""Keys and certificates that sign provenance: the user's own, or a pair that reenactor makes by itself."""

from __future__ import annotations

import datetime as dt
import io
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from reenactor.core import ReenactError
from reenactor.core.files import config_folder, drafting

SELF_MADE_ORGANIZATIONS = ("reenactor (self-made certificate)", "reenact (self-made certificate)")
"""What verifiers show as the issuer: new certificates use the first name, older versions used the second. It names no
person and no machine, since signed files may be published."""

# Without a time-stamping authority a signature is valid only as long as its certificate, which must therefore outlive
# the files.
_YEARS = 20
_FILE_NAME = "self-made-signing-key.pem"
_SECRET_NAME, _SECRET_BYTES = "secret-of-jobs", 32
_PEM = serialization.Encoding.PEM
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
# No network: no revocation lookup, no manifest from the web. No previews: they would enlarge every file. At most 16 MB
# of copies in memory: with the default of 512, signing 114 MB took 227 MB.
OFFLINE_SETTINGS: dict[str, dict[str, Any]] = {
    "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False},
    "core": {"allowed_network_hosts": [], "backing_store_memory_threshold_in_mb": 16},
    "builder": {"thumbnail": {"enabled": False}},
}
"""C2PA settings for every use of the library."""

# The smallest manifest that C2PA accepts; for the trial signature.
_TRIAL_ACTION = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation",
}
_TRIAL_MANIFEST = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [_TRIAL_ACTION]}}]}


@dataclass(frozen=True)
class Credentials:
    """A certificate and its private key.

    Args:
        certificate_chain_pem: the signer's certificate, then those of the authorities that issued it.
        private_key_pem: PKCS 8, not encrypted.
        algorithm: C2PA's name of the signature algorithm, such as "es256".
    """

    certificate_chain_pem: bytes
    private_key_pem: bytes = field(repr=False)
    algorithm: str = "es256"

    def signer(self) -> c2pa.Signer:
        """A C2PA signer without a time-stamping authority, so signing never uses the network."""
        return c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(self.algorithm, self.certificate_chain_pem, self.private_key_pem, None)
        )


def own_credentials(folder: Path | None = None) -> Credentials:
    """The self-made credentials of this user, made on the first call and again after they have expired.

    Args:
        folder: folder of the file; `config_folder()` if not given.

    Raises:
        ReenactError: the folder cannot be written, or the file in it is damaged.
    """
    path = (folder or config_folder()) / _FILE_NAME
    try:
        if not path.exists():
            _store(path, _make(), replace=False)
        credentials = _read_pair(path, path)
        if _expired_or_early(credentials) is not None:
            _store(path, _make(), replace=True)
            credentials = _read_pair(path, path)
    except OSError as error:
        raise ReenactError(
            f"cannot keep a signing certificate in {path.parent} ({error.strerror}); set REENACTOR_HOME to a"
            " folder that can be written, give --sign-cert and --sign-key, or pass --no-provenance"
        ) from error
    except ReenactError as error:
        raise ReenactError(f"{error} (delete {path} to have a new one made)") from error
    return credentials


def own_secret(folder: Path | None = None) -> bytes:
    """32 random bytes that only this user can read, made on the first call: they authenticate the user's own files.

    Args:
        folder: folder of the file; `config_folder()` if not given.

    Returns:
        others in each process where the folder cannot be written.
    """
    path = (folder or config_folder()) / _SECRET_NAME
    for _ in range(2):
        with suppress(OSError):
            # A secret that others could read, or wrote, is replaced.
            private = os.name == "nt" or (path.stat().st_mode & 0o077 == 0 and path.stat().st_uid == os.geteuid())
            if private and len(secret := path.read_bytes()) == _SECRET_BYTES:
                return secret
        with suppress(OSError):
            _store(path, secrets.token_bytes(_SECRET_BYTES), replace=path.exists())
    return secrets.token_bytes(_SECRET_BYTES)


def load_credentials(certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> Credentials:
    """Read a certificate chain and its private key (PEM), and check them with a trial signature.

    Raises:
        ReenactError: a file is missing or not PEM; the key is encrypted, of an unsupported kind or of another
            certificate; or the certificate is expired, not valid yet, or not accepted by C2PA.
    """
    certificate, key = Path(certificate), Path(key)
    credentials = _read_pair(certificate, key)
    if problem := _expired_or_early(credentials):
        raise ReenactError(f"the certificate {certificate} {problem}; renew it with its issuer")
    leaf = x509.load_pem_x509_certificate(credentials.certificate_chain_pem)
    if leaf.subject == leaf.issuer:
        # The C2PA specification forbids it: this library accepts it, but other verifiers do not.
        raise ReenactError(
            f"the certificate {certificate} is self-signed, which C2PA forbids; have an authority issue it"
        )
    picture, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "PNG")
    try:
        context = c2pa.Context.from_dict(OFFLINE_SETTINGS)
        c2pa.Builder(_TRIAL_MANIFEST, context=context).sign(credentials.signer(), "image/png", picture, signed)
    except c2pa.C2paError as error:
        raise ReenactError(
            f"C2PA does not accept the certificate {certificate} ({_reason(error)}); it must be issued by an"
            " authority for digital signatures, with the extended key usage e-mail"
            " protection or document signing"
        ) from error
    return credentials


def _read_pair(certificate: Path, key: Path) -> Credentials:
    chain = _parse_chain(certificate)
    private = _parse_key(key)
    if chain[0].public_key() != private.public_key():
        raise ReenactError(
            f"the key {key} does not belong to the first certificate in {certificate}; give the pair that was"
            " issued together, the signer's certificate first"
        )
    return Credentials(b"".join(one.public_bytes(_PEM) for one in chain), _key_pem(private), _algorithm(private, key))


def _read_bytes(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReenactError(f"cannot read the {kind} {path} ({error.strerror}); check the name") from error


def _parse_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read_bytes(path, "certificate"))
    except ValueError as error:
        raise ReenactError(f"{path} holds no certificate in PEM form; give a .pem file") from error


def _parse_key(path: Path) -> PrivateKeyTypes:
    pem = _read_bytes(path, "private key")
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ReenactError(
            f"the private key {path} is encrypted; decrypt it first (openssl pkey -in KEY -out PLAIN)"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ReenactError(f"{path} holds no private key in PEM form that can be read here") from error


def _algorithm(key: PrivateKeyTypes, path: Path) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise ReenactError(
        f"the private key {path} is of a kind that C2PA does not sign with; use EC P-256, P-384 or P-521,"
        " Ed25519, or RSA of at least 2048 bits"
    )


def _expired_or_early(credentials: Credentials) -> str | None:
    leaf = x509.load_pem_x509_certificate(credentials.certificate_chain_pem)
    now = dt.datetime.now(dt.UTC)
    if leaf.not_valid_after_utc <= now:
        return f"expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if leaf.not_valid_before_utc > now:
        return f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
    return None


def _reason(error: Exception) -> str:
    # The library says "Signature: the certificate is invalid"; the part before the colon is its own type.
    return str(error).rpartition(": ")[2] or type(error).__name__


def _store(path: Path, pem: bytes, *, replace: bool) -> None:
    """Write `pem` atomically, readable by its owner only; without `replace` an existing file stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError), drafting(path, mode=0o600) as draft:
        draft.write_bytes(pem)
        if not replace:
            try:
                os.link(draft, path)  # fails if another process was first
            except FileExistsError:
                raise
            except OSError:
                pass  # a file system without hard links: the later of two processes wins


def _make() -> bytes:
    """A new key, its certificate, and that of the authority that issued it, as one PEM file.

    C2PA refuses self-signed signers, hence the authority. Its key is not kept, so it can never issue another
    certificate. One file holds everything, so two processes cannot mix their halves.
    """
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name("reenactor self-made authority")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(issues=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        _certificate(_name("reenactor self-made signer"), authority_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(issues=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return _key_pem(key) + leaf.public_bytes(_PEM) + authority.public_bytes(_PEM)


def _key_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, SELF_MADE_ORGANIZATIONS[0]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    # Whole days do not reveal when the program was first run; one day back allows for a clock that is ahead.
    start = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - dt.timedelta(days=1))
        .not_valid_after(start + dt.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )
