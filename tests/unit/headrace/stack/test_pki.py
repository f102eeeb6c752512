from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store

from headrace.stack.pki import DEVICE, ensure_pki


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_server_is_trusted_for_this_machine(tmp_path: Path):
    """A client that trusts the authority accepts the server's certificate for localhost."""
    pki = ensure_pki(tmp_path)

    store = Store([_certificate(pki.authority)])
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("localhost"))

    assert len(verifier.verify(_certificate(pki.certificate("server")), [])) == 2


def test_the_device_is_trusted_as_a_client(tmp_path: Path):
    """A server that trusts the authority accepts the device's certificate, which names the device."""
    pki = ensure_pki(tmp_path)

    store = Store([_certificate(pki.authority)])
    device = (
        PolicyBuilder()
        .store(store)
        .build_client_verifier()
        .verify(_certificate(pki.certificate("device")), [])
    )

    assert [x509.DNSName(DEVICE)] == device.subjects


def test_keys_are_private_and_fit_their_certificates(tmp_path: Path):
    """A private key is readable by its owner alone, and is the one of its certificate."""
    pki = ensure_pki(tmp_path)

    for name in ("server", "device"):
        key = serialization.load_pem_private_key(pki.private_key(name).read_bytes(), None)
        assert pki.private_key(name).stat().st_mode & 0o777 == 0o600
        assert _certificate(pki.certificate(name)).public_key() == key.public_key()


def test_a_pki_is_made_once(tmp_path: Path):
    """A second run keeps the certificates that devices already trust."""
    before = ensure_pki(tmp_path).authority.read_bytes()

    assert before == ensure_pki(tmp_path).authority.read_bytes()


def test_half_a_pki_is_made_again(tmp_path: Path):
    """A PKI that was interrupted before its last file is made anew, as a whole."""
    pki = ensure_pki(tmp_path)
    old = pki.certificate("server").read_bytes()
    pki.authority.unlink()

    ensure_pki(tmp_path)

    assert old != pki.certificate("server").read_bytes()
