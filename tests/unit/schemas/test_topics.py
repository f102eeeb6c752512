import re

import pytest

from schemas.topics import MAX_RAW_BYTES, RAW_TOPICS, TOPICS, key


@pytest.mark.parametrize("name", TOPICS)
def test_names_are_words_and_hyphens(name):
    """No topic's name holds a dot or an underscore: brokers' metrics cannot tell the two apart."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)


@pytest.mark.parametrize("name", RAW_TOPICS.values())
def test_every_raw_topic_is_in_the_table(name):
    """A dialect's raw topic is created with all the others."""
    assert "RawMessage" == TOPICS[name].carries


@pytest.mark.parametrize("dialect", RAW_TOPICS)
def test_a_raw_topic_is_named_after_its_dialect(dialect):
    """The same thing has the same stem everywhere, with the hyphens of a topic."""
    assert "raw-" + dialect.replace("_", "-") == RAW_TOPICS[dialect]


@pytest.mark.parametrize("name", RAW_TOPICS.values())
def test_the_broker_stamps_raw_records(name):
    """De-duplication measures its window by the broker's clock, which no edge can move."""
    assert "LogAppendTime" == TOPICS[name].config["message.timestamp.type"]


@pytest.mark.parametrize("name", RAW_TOPICS.values())
def test_a_raw_topic_takes_the_largest_body_and_its_frame(name):
    """The broker takes every record that an edge may produce."""
    assert MAX_RAW_BYTES < int(TOPICS[name].config["max.message.bytes"])


def test_readings_scale_with_the_raw_topics():
    """A block goes to the partition number of its raw records, so both sides have the same number of partitions."""
    assert TOPICS["readings"].scaled
    assert all(TOPICS[name].scaled for name in RAW_TOPICS.values())


def test_the_registry_is_compacted():
    """The newest entry of every device is kept for ever."""
    assert "compact" == TOPICS["devices"].config["cleanup.policy"]


def test_the_key_is_tenant_and_device():
    """Everything of one device has one key, whatever the dialect."""
    assert b"acme/boiler-7" == key("acme", "boiler-7")
