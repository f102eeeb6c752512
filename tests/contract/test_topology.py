"""Every topic, dialect and reason has its place in each table."""

import ast
from pathlib import Path

import pytest

from processors.app import build
from processors.normalise import NORMALISERS
from processors.settings import ProcessSettings
from producers.coap import server as coap
from producers.http import application as http
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings
from schemas.dead_letter import Reason
from schemas.topics import DEAD_LETTERS, DEVICES, RAW_TOPICS, READINGS, TOPICS

ROOT = Path(__file__).parents[2]


def dialects() -> set[str]:
    """The dialects that an edge speaks."""
    over_coap = {dialect.__module__.rpartition(".")[2] for dialect in coap.DIALECTS.values()}
    return over_coap | {dialect.name for dialect in http.DIALECTS}


def test_every_raw_topic_has_a_normaliser():
    """What an edge may write can be read."""
    assert set(RAW_TOPICS) == set(NORMALISERS)


def test_every_raw_topic_has_an_edge():
    """What can be read is what edges speak."""
    assert set(RAW_TOPICS) == dialects()


def test_every_raw_topic_is_processed():
    """The processor reads each raw topic, in chunks."""
    app = build(KafkaSettings(), ProcessSettings(), PlaceTable())
    (agent,) = app.agents.values()

    assert set(RAW_TOPICS.values()) == set(agent.channel.topics) == app.chunk_topics


def test_every_topic_is_in_the_table():
    """The broker is told of every topic that is named anywhere, and of no other."""
    assert {*RAW_TOPICS.values(), READINGS, DEAD_LETTERS, DEVICES} == set(TOPICS)


def test_raw_topics_and_readings_have_as_many_partitions():
    """Blocks go to the partition number of their raw records, so they grow together."""
    assert {True} == {TOPICS[name].scaled for name in (*RAW_TOPICS.values(), READINGS)}


def test_the_brokers_clock_stamps_raw_records():
    """De-duplication counts on timestamps that no edge's clock can move."""
    assert {"LogAppendTime"} == {
        TOPICS[name].config["message.timestamp.type"] for name in RAW_TOPICS.values()
    }


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_given(reason):
    """A reason for a dead letter is given by a processor or by a sink."""
    given = {
        node.attr
        for room in ("processors", "sinks")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }

    assert reason.name in given


def test_every_reason_is_explained():
    """The table of reasons says under each what it means."""
    (table,) = (
        node
        for node in ast.walk(ast.parse((ROOT / "schemas" / "dead_letter.py").read_text()))
        if isinstance(node, ast.ClassDef) and node.name == "Reason"
    )
    explained = [
        before.targets[0].id
        for before, after in zip(table.body, table.body[1:], strict=False)
        if isinstance(before, ast.Assign) and isinstance(after, ast.Expr)
    ]

    assert [reason.name for reason in Reason] == explained
