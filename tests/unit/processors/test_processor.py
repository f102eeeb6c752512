import time

import pytest

from processors import processor as processing
from processors.processor import Processor, TopicReplaced
from processors.progress import Progress
from processors.settings import ProcessSettings
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings


@pytest.fixture(name="processor")
def _processor(monkeypatch):
    """A processor that began with topic 1 and may find another one."""
    made = Processor(KafkaSettings(), ProcessSettings(), PlaceTable(), None, Progress(time.monotonic))
    made._topic_ids = {"raw-graph": "1", "raw-thingsboard": "2"}
    found = dict(made._topic_ids)
    monkeypatch.setattr(processing, "topic_ids", lambda *_: found)
    return made, found


async def test_the_same_topics_are_no_news(processor):
    """As long as Kafka names the same topics, nothing happens."""
    made, _ = processor

    assert await made._check_topics() is None


async def test_a_topic_that_is_another_one_is_an_error(processor):
    """A topic of the same name and another id ends everything, and the error names it."""
    made, found = processor
    found["raw-graph"] = "3"

    with pytest.raises(TopicReplaced, match="deleted and created again while we ran: raw-graph"):
        await made._check_topics()
