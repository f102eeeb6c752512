import asyncio

import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client import REGISTRY

from runtime.publisher import REFUSED, Overloaded, Publisher, TooLarge, Undelivered
from tests.support.counts import counts


@pytest.fixture(name="read")
def _read(kafka):
    """Reads what a partition holds."""
    consumer = Consumer(kafka.librdkafka() | {"group.id": "test", "auto.offset.reset": "earliest"})

    def read(topic, partition, count):
        consumer.assign([TopicPartition(topic, partition, 0)])
        return consumer.consume(count, 10)

    yield read
    consumer.close()


async def test_a_record_is_on_the_log_when_its_future_is_done(kafka, read):
    """Value, key, headers and partition arrive as they were sent."""
    async with Publisher(kafka, delivery_timeout=10) as publisher:
        await publisher.send(
            "raw-graph", b"value", key=b"acme/boiler-7", headers=[("identity", b"\1")], partition=2
        )

        (record,) = read("raw-graph", 2, 1)

    assert (b"value", b"acme/boiler-7", [("identity", b"\1")]) == (
        record.value(),
        record.key(),
        record.headers(),
    )


async def test_records_of_a_partition_stay_in_order(kafka, read):
    """What was sent first is on the log first."""
    async with Publisher(kafka, delivery_timeout=10) as publisher:
        await asyncio.gather(*[publisher.send("readings", b"%d" % n, partition=0) for n in range(100)])

        records = read("readings", 0, 100)

    assert [b"%d" % n for n in range(100)] == [record.value() for record in records]


@pytest.mark.parametrize(("key", "partition"), [(b"kafka", 0), (b"234", 2), (b"4", 1)])
async def test_a_key_lands_where_every_client_puts_it(kafka, read, key, partition):
    """The partition is that of Kafka's own murmur2 partitioner."""
    async with Publisher(kafka, delivery_timeout=10) as publisher:
        await publisher.send("raw-graph", b"value", key=key)

        assert [key] == [record.key() for record in read("raw-graph", partition, 1)]


async def test_a_record_that_is_too_large_is_refused_at_once(nowhere):
    """A record that its topic would never take is not queued, and trying again is no use."""
    async with Publisher(nowhere, delivery_timeout=0.5, max_record_bytes=8192) as publisher:
        with pytest.raises(TooLarge) as refused:
            publisher.send("raw-graph", bytes(8192))

    assert not refused.value.retriable


async def test_a_record_that_nobody_acknowledges_is_undelivered(nowhere):
    """A broker that is away is reported within the time, and trying again may help."""
    async with Publisher(nowhere, delivery_timeout=0.5) as publisher:
        with pytest.raises(Undelivered) as refused:
            await publisher.send("raw-graph", b"value")

    assert refused.value.retriable


async def test_a_full_queue_refuses_the_next_record(nowhere):
    """Memory is bounded: what does not fit is refused at once, and trying again may help."""
    counted = counts(REFUSED)
    async with Publisher(nowhere, delivery_timeout=0.5, max_queued_bytes=4096) as publisher:
        waiting = [publisher.send("raw-graph", bytes(2000)) for _ in range(2)]
        with pytest.raises(Overloaded) as refused:
            publisher.send("raw-graph", bytes(2000))
        await asyncio.wait(waiting)

    assert refused.value.retriable
    assert counted() == {(): 1}
    assert all(isinstance(future.exception(), Undelivered) for future in waiting)


async def test_a_record_that_cannot_be_queued_keeps_no_other_back(kafka, read):
    """Of many records each is heard of once: of one that is too large at once, of the others when they are on the log."""
    heard, done = [], asyncio.Event()

    def settled(error):
        heard.append(error)
        if len(heard) == 3:
            done.set()

    values = [b"first", bytes(8192), b"third"]
    async with Publisher(kafka, delivery_timeout=10, max_record_bytes=8192) as publisher:
        publisher.post([("raw-graph", value, b"4", [("identity", b"\1")]) for value in values], settled)
        at_once = list(heard)
        await asyncio.wait_for(done.wait(), 10)

        records = read("raw-graph", 1, 2)

    assert [TooLarge] == [type(error) for error in at_once]
    assert [None, None] == heard[1:]
    assert [(b"first", [("identity", b"\1")]), (b"third", [("identity", b"\1")])] == [
        (record.value(), record.headers()) for record in records
    ]


async def test_what_waits_is_shown(nowhere):
    """The records that Kafka has not acknowledged are counted when somebody asks, and no more once they are settled."""
    async with Publisher(nowhere, delivery_timeout=0.5) as publisher:
        waiting = [publisher.send("raw-graph", b"value") for _ in range(3)]
        before = REGISTRY.get_sample_value("headrace_publisher_queued_records")
        await asyncio.wait(waiting)

    assert (3, 0) == (before, REGISTRY.get_sample_value("headrace_publisher_queued_records"))


async def test_cancelling_takes_nothing_back(kafka, read):
    """A caller that no longer waits has sent its record all the same, and the others hear of theirs."""
    async with Publisher(kafka, delivery_timeout=10) as publisher:
        publisher.send("raw-graph", b"first", partition=0).cancel()
        await publisher.send("raw-graph", b"second", partition=0)

        assert [b"first", b"second"] == [record.value() for record in read("raw-graph", 0, 2)]


async def test_leaving_waits_for_what_was_sent(kafka, read):
    """Every future is done when the publisher was left."""
    async with Publisher(kafka, delivery_timeout=10) as publisher:
        waiting = publisher.send("raw-graph", b"value", partition=0)

    assert waiting.done()
    assert waiting.exception() is None
