"""What the coaps server accepts in a handshake: DTLS 1.2, any certificate that is in date or none, or a pre-shared key."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import InvalidVersion, load_der_x509_certificate
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from producers.coap.pre_shared_keys import PreSharedKeys, serve
from producers.coap.remote import Proof

_DTLS_1_2 = 0xFEFD
_MODE_NO_AUTO_CHAIN = 0x8
"""Do not search trust stores for something to append to our own chain."""

# AES_128_CCM_8 is what RFC 7252 makes mandatory; OpenSSL rates its tag at 64 bits, hence the security level. The list
# itself holds nothing but ECDHE with authenticated encryption.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8"
# Plain PSK has no forward secrecy, but is all that small devices speak; PSK_AES_128_CCM_8 is mandatory as well.
_PSK_CIPHERS = (
    b":ECDHE-PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256:PSK-CHACHA20-POLY1305"
    b":PSK-AES128-CCM:PSK-AES128-CCM8"
)
_LEVEL = b":@SECLEVEL=0"

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

_NO_AUTHORITY = object()
"""Mark of a connection whose certificate no authority of ours vouches for."""


def server_context(
    certificate: str, private_key: str, *, authorities: str = "", keys: PreSharedKeys | None = None
) -> SSL.Context:
    """A context for `DtlsTransport`.

    Args:
        certificate: PEM file of our chain, leaf first; "" where there are only pre-shared keys.
        private_key: PEM file of the leaf's key.
        authorities: PEM file of those that vouch for devices.
        keys: of devices without a certificate.

    Raises:
        ValueError: the files cannot be read, or do not belong together.

    """
    context = _dtls_1_2()
    context.set_cipher_list(_CIPHERS + (_PSK_CIPHERS if keys is not None else b"") + _LEVEL)
    context.set_verify(SSL.VERIFY_PEER, _verify)
    if keys is not None:
        serve(context, keys)
    if certificate or keys is None:
        _identify(context, certificate, private_key)
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except SSL.Error as error:
            raise ValueError(f"cannot use the authorities {authorities!r}: {reason(error)}") from error
    return context


def _dtls_1_2() -> SSL.Context:
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    # Tickets and cached sessions would bring back a session without its certificate being looked at.
    context.set_options(
        SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(_MODE_NO_AUTO_CHAIN)
    # Not 1.3: OpenSSL's stateless cookies (DTLSv1_listen) end at 1.2.
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    return context


def _identify(context: SSL.Context, certificate: str, private_key: str) -> None:
    try:
        # Not use_privatekey_file: OpenSSL would ask on the terminal for the password of an encrypted key.
        key = load_pem_private_key(Path(private_key).read_bytes(), password=None)
        context.use_certificate_chain_file(certificate)
        context.use_privatekey(key)  # type: ignore[arg-type]  # a key that signs nothing is an error of OpenSSL's
        context.check_privatekey()
    except (SSL.Error, OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = reason(error) if isinstance(error, SSL.Error) else str(error)
        raise ValueError(
            f"cannot use certificate {certificate!r} with private key {private_key!r}: {why}"
        ) from error


def _verify(connection: SSL.Connection, _: crypto.X509, error: int, __: int, ___: int) -> bool:
    """Let every certificate pass that is in date, but note whether an authority vouches for it.

    As in ThingsBoard, who issued it does not matter where the certificate is registered: its fingerprint is compared on
    each request. The handshake proves that the other end holds the key.
    """
    if error:
        connection.set_app_data(_NO_AUTHORITY)
    return error not in (_NOT_YET_VALID, _EXPIRED)


def proof(connection: SSL.Connection) -> Proof:
    """What a completed handshake proved."""
    certificate = connection.get_peer_certificate()
    noted = connection.get_app_data()
    if certificate is None:
        return Proof(device=noted if isinstance(noted, str) else None)
    der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    return Proof(der, None if noted is _NO_AUTHORITY else common_name(der))


def common_name(der: bytes) -> str | None:
    """The one common name in a certificate's subject; None where there is none, several, or one that nobody can read."""
    try:
        names = load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, InvalidVersion):
        return None  # OpenSSL takes more than can be read: text in the wrong encoding, for one
    name = names[0].value if len(names) == 1 else None
    return name if isinstance(name, str) else None


def reason(error: SSL.Error) -> str:
    """What OpenSSL said, without its file names and numbers."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return "; ".join(entry[-1] for entry in stack) or type(error).__name__
