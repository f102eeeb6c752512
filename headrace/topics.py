"""`headrace topics`: make the broker match the table of topics."""

from typing import Annotated

import typer
from confluent_kafka import KafkaException

from runtime.settings import KafkaSettings
from runtime.topics import create_topics
from schemas.topics import TOPICS

app = typer.Typer(name="topics", help="Create the topics that Headrace needs.", no_args_is_help=True)


@app.callback()
def topics() -> None:
    """Keep `apply` a command of its own: typer would otherwise make a lone command the group."""


@app.command()
def apply(
    partitions: Annotated[
        int, typer.Option(min=1, help="Of each topic that scales; the most pods a stage can use.")
    ] = 12,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each topic, on as many brokers.")] = 3,
) -> None:
    """Create the topics that are missing; those that exist stay as they are."""
    kafka = KafkaSettings()
    try:
        created = create_topics(kafka, partitions=partitions, replication=replication)
    except KafkaException as error:
        why = error.args[0].str()
        typer.echo(f"cannot create the topics at {kafka.bootstrap}: {why}", err=True)
        raise typer.Exit(1) from error
    for name, topic in TOPICS.items():
        typer.echo(f"{'created' if name in created else 'exists':<9} {name:<20} {topic.carries}")
