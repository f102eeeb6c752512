"""A broker in a process of its own, so that it can be stopped: librdkafka's mock cluster, which speaks the real protocol."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from runtime.settings import KafkaSettings
from schemas.raw_message import IDENTITY_HEADER

_PROGRAM = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
producer.produce(sys.argv[1], b"", partition=0)
assert producer.flush(10) == 0
broker, = producer.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Broker:
    """A running broker with one topic."""

    kafka: KafkaSettings
    topic: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """Let it stand still: its connections stay open, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it stood still."""
        self.process.send_signal(signal.SIGCONT)

    def identities(self) -> list[bytes]:
        """Those on the log, the broker's own first record left out."""
        options = {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap} | options)
        found: list[bytes] = []
        try:
            partitions = consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions
            consumer.assign([TopicPartition(self.topic, number, 0) for number in partitions])
            ended = 0
            while ended < len(partitions):
                for message in consumer.consume(100, 1):
                    ended += message.error() is not None
                    found += [value for name, value in message.headers() or () if name == IDENTITY_HEADER]
        finally:
            consumer.close()
        return found


@contextmanager
def broker(topic: str) -> Iterator[Broker]:
    """A broker while the block runs."""
    command = (sys.executable, "-c", _PROGRAM, topic)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = Broker(KafkaSettings(bootstrap=process.stdout.readline().strip()), topic, process)
        yield started
        started.go_on()
        process.kill()
