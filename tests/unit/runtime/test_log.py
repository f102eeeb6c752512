import json
import logging

import pytest
import structlog

from runtime.log import configure
from runtime.settings import LogSettings


@pytest.fixture(name="restored", autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_one_json_object(capsys):
    """An event is a line of JSON on standard error, with its level, its time and its values."""
    configure(LogSettings())

    structlog.get_logger().info("registry loaded", devices=3)

    line = json.loads(capsys.readouterr().err)
    assert ("registry loaded", "info", 3) == (line["event"], line["level"], line["devices"])
    assert line["timestamp"].endswith("Z")


def test_a_librarys_line_is_an_event_too(capsys):
    """What a library logs has the same shape, and names the library."""
    configure(LogSettings())

    logging.getLogger("aiokafka.conn").warning("gone: %s", "kafka:9092")

    line = json.loads(capsys.readouterr().err)
    assert ("gone: kafka:9092", "warning", "aiokafka.conn") == (line["event"], line["level"], line["logger"])


def test_events_below_the_level_are_silent(capsys):
    """Nothing is written for an event that is not wanted."""
    configure(LogSettings(level="warning"))

    structlog.get_logger().info("registry loaded")
    logging.getLogger("aiokafka").info("connected")

    assert "" == capsys.readouterr().err


def test_people_get_text(capsys):
    """The console format is for eyes, not for machines."""
    configure(LogSettings(format="console"))

    structlog.get_logger().info("registry loaded")

    assert "registry loaded" in capsys.readouterr().err
