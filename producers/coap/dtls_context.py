"""What the coaps server accepts in a handshake: DTLS 1.2, ECDHE, any certificate that is in date, or none."""

from OpenSSL import SSL, crypto

_DTLS_1_2 = 0xFEFD
_MODE_NO_AUTO_CHAIN = 0x8
"""Do not search trust stores for something to append to our own chain."""

# AES_128_CCM_8 is what RFC 7252 makes mandatory; OpenSSL rates its tag at 64 bits, hence the security level. The list
# itself holds nothing but ECDHE with authenticated encryption.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def server_context(certificate: str, private_key: str) -> SSL.Context:
    """A context for `DtlsTransport`.

    Args:
        certificate: PEM file of our chain, leaf first.
        private_key: PEM file of the leaf's key.

    Raises:
        ValueError: the files cannot be read, or do not belong together.

    """
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
    context.set_cipher_list(_CIPHERS)
    context.set_verify(SSL.VERIFY_PEER, _verify)
    try:
        context.use_certificate_chain_file(certificate)
        context.use_privatekey_file(private_key)
        context.check_privatekey()
    except SSL.Error as error:
        raise ValueError(
            f"cannot use certificate {certificate!r} with private key {private_key!r}: {reason(error)}"
        ) from error
    return context


def _verify(_: SSL.Connection, __: crypto.X509, error: int, ___: int, ____: int) -> bool:
    """Let every certificate pass that is in date.

    As in ThingsBoard, who issued it does not matter: the device is known by the certificate's fingerprint, which is
    compared on each request. The handshake proves that the other end holds the key.
    """
    return error not in (_NOT_YET_VALID, _EXPIRED)


def reason(error: SSL.Error) -> str:
    """What OpenSSL said, without its file names and numbers."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return "; ".join(entry[-1] for entry in stack) or type(error).__name__
