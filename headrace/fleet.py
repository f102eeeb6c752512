"""Fleet files: the devices of one tenant, as an operator writes them down."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from schemas.device import Device

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Tenant = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]*$", max_length=128)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Unusable(Exception):
    """The fleet file says something that cannot be registered. One sentence for each mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device in the file; `fleet.yaml` explains the fields."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    enabled: bool = True
    tokens: list[Text] = []
    token_sha256s: list[Digest] = []
    certificate_files: list[Text] = []
    components: list[Text] = []
    place: str = ""
    labels: dict[str, str] = {}


class _Fleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: Tenant
    devices: list[Any]


def load(path: Path) -> list[Device]:
    """The devices in a fleet file: of tokens only the hashes, of certificates only the fingerprints.

    Raises:
        Unusable: for every mistake in the file, its line and its device.
        OSError: the file cannot be read.

    """
    fleet, lines = _parsed(path)
    mistakes: list[str] = []
    devices: list[Device] = []
    for line, fields in zip(lines, fleet.devices, strict=True):
        try:
            devices.append(_device(fleet.tenant, msgspec.convert(fields, Entry), path.parent))
        except (ValueError, OSError) as error:
            name = f", device {fields['id']}" if isinstance(fields, dict) and "id" in fields else ""
            mistakes.append(f"{path}, line {line}{name}: {error}")
    mistakes += [f"{path}: {repetition}" for repetition in _repetitions(devices)]
    if mistakes:
        raise Unusable(mistakes)
    return devices


def _parsed(path: Path) -> tuple[_Fleet, list[int]]:
    """The file, and the line at which each of its devices begins."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root: Any = loader.get_single_node()
        fleet = msgspec.convert(loader.construct_document(root) if root else None, _Fleet)
    except (yaml.YAMLError, ValueError) as error:
        raise Unusable([f"{path}: {error}"]) from error
    entries = {name.value: value for name, value in root.value}["devices"]
    return fleet, [entry.start_mark.line + 1 for entry in entries.value]


def _device(tenant: str, entry: Entry, folder: Path) -> Device:
    hashed = [sha256(token.encode()).hexdigest() for token in entry.tokens]
    return Device(
        tenant=tenant,
        device=entry.id,
        enabled=entry.enabled,
        token_sha256s=[*hashed, *entry.token_sha256s],
        certificate_sha256s=[_fingerprint(folder / file) for file in entry.certificate_files],
        components=entry.components,
        place=entry.place,
        labels=entry.labels,
    )


def _fingerprint(file: Path) -> str:
    """SHA-256 of the first certificate in a PEM file: the device's own, where others of its chain follow."""
    try:
        own, *_ = x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} holds no certificate in PEM form") from error
    return own.fingerprint(SHA256()).hex()


def _repetitions(devices: Sequence[Device]) -> Iterator[str]:
    """What two entries claim, though it can belong to only one."""
    ids = Counter(device.device for device in devices)
    yield from (f"device {name} is there {times} times" for name, times in ids.items() if times > 1)
    owners: dict[str, list[str]] = defaultdict(list)
    for device in devices:
        for credential in (*device.token_sha256s, *device.certificate_sha256s):
            owners[credential].append(device.device)
    for claimants in owners.values():
        if len(claimants) > 1:
            yield f"one token or certificate for {' and '.join(claimants)}"
