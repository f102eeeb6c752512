"""`headrace devices`: who may speak, and what is known about them."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headrace import fleet
from runtime.publisher import Publisher, PublishError
from runtime.registry import Registry
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.device import Device
from schemas.topics import DEVICES, key

DELIVERY_TIMEOUT = 30
"""Seconds that Kafka may take to acknowledge a change of the registry."""

app = typer.Typer(name="devices", help="Register devices, list them, remove them.", no_args_is_help=True)

Changes = Mapping[bytes, bytes | None]
"""What goes onto the topic: key to the encoded device, or to None for one that is removed."""


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="A fleet file in YAML.", exists=True, dir_okay=False)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
) -> None:
    """Register the devices in FILE, all of them or, if one entry is wrong, none."""
    try:
        wanted = fleet.load(file)
    except (fleet.Unusable, OSError) as error:
        raise _failure(str(error)) from error
    known = {(device.tenant, device.device): device for device in _registered()}
    changed = [device for device in wanted if known.get((device.tenant, device.device)) != device]
    if not dry_run:
        _publish({key(device.tenant, device.device): encode(device) for device in changed})
    for device in changed:
        verb = "changed" if (device.tenant, device.device) in known else "added"
        typer.echo(f"{verb:<9} {device.tenant}/{device.device}")
    typer.echo(f"unchanged {len(wanted) - len(changed)} of {len(wanted)}")
    if dry_run:
        typer.echo("Nothing was written: this was a dry run.")


@app.command(name="list")
def list_() -> None:
    """Show every registered device."""
    table = Table(
        "tenant", "device", "enabled", "tokens", "certificates", "components", "place", "labels", box=None
    )
    for device in sorted(_registered(), key=lambda device: (device.tenant, device.device)):
        table.add_row(
            device.tenant,
            device.device,
            "yes" if device.enabled else "no",
            str(len(device.token_sha256s)),
            str(len(device.certificate_sha256s)),
            ", ".join(device.components),
            device.place,
            ", ".join(f"{name}={value}" for name, value in device.labels.items()),
        )
    Console().print(table)


@app.command()
def remove(tenant: str, device: str) -> None:
    """Forget DEVICE of TENANT: its credentials are refused from then on. What it sent stays."""
    if not any((known.tenant, known.device) == (tenant, device) for known in _registered()):
        raise _failure(f"{tenant}/{device} is not registered")
    _publish({key(tenant, device): None})
    typer.echo(f"removed   {tenant}/{device}")


class _Entries(dict[tuple[str, str], Device]):
    """Every entry of the registry as it is."""

    def put(self, device: Device) -> None:
        """See `runtime.registry.Table.put`."""
        self[device.tenant, device.device] = device

    def remove(self, tenant: str, device: str) -> None:
        """See `runtime.registry.Table.remove`."""
        self.pop((tenant, device), None)


def _registered() -> Iterable[Device]:
    try:
        with Registry(KafkaSettings(), _Entries()) as registry:
            return registry.devices.values()
    except RuntimeError as error:
        raise _failure(str(error)) from error


def _publish(changes: Changes) -> None:
    async def publish() -> None:
        async with Publisher(KafkaSettings(), delivery_timeout=DELIVERY_TIMEOUT) as publisher:
            await asyncio.gather(
                *(publisher.send(DEVICES, value, key=name) for name, value in changes.items()),
            )

    try:
        asyncio.run(publish())
    except PublishError as error:
        raise _failure(f"not registered: {error}") from error


def _failure(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)
