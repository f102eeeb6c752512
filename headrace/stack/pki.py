"""A development PKI: one authority, a server certificate for this machine, one device certificate."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEVICE = "device-0001"
"""Common name of the device certificate."""

_VALID = timedelta(days=825)


@dataclass(frozen=True, slots=True)
class Pki:
    """Where the files of a PKI are, as PEM."""

    folder: Path

    @property
    def authority(self) -> Path:
        """Certificate of the authority that clients and servers trust."""
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        """Certificate of `server` or `device`."""
        return self.folder / f"{name}.pem"

    def private_key(self, name: str) -> Path:
        """Private key of `server` or `device`; only its owner may read it."""
        return self.folder / f"{name}.key"


@dataclass(frozen=True, slots=True)
class _Identity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_pki(folder: Path, *, now: datetime | None = None) -> Pki:
    """The PKI in the folder, made if it is not there.

    The last file to be written is the authority's certificate, so a PKI that was left half-made is made again.
    """
    pki = Pki(folder)
    if pki.authority.exists():
        return pki
    moment = now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    authority = _authority(moment)
    here = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(ip)) for ip in ("127.0.0.1", "::1"))]
    server = _leaf("localhost", authority, moment, here)
    device = _leaf(DEVICE, authority, moment, [x509.DNSName(DEVICE)])
    for name, identity in (("server", server), ("device", device), ("ca", authority)):
        _write_private(pki.private_key(name), identity.key)
        pki.certificate(name).write_bytes(identity.certificate.public_bytes(serialization.Encoding.PEM))
    return pki


def _builder(name: str, key: ec.EllipticCurvePrivateKey, moment: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(minutes=5))
        .not_valid_after(moment + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority(moment: datetime) -> _Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("Headrace development CA", key, moment)
    certificate = (
        builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headrace development CA")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Identity(certificate, key)


def _leaf(name: str, authority: _Identity, moment: datetime, names: list[x509.GeneralName]) -> _Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if name == DEVICE else ExtendedKeyUsageOID.SERVER_AUTH
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = (
        _builder(name, key, moment)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _Identity(certificate, key)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.unlink(missing_ok=True)
    # Created with its mode, so that there is no instant at which others could open it.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
