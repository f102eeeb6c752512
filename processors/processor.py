"""Processor: everything between a stream of chunks and the log, put together for one life of the agent."""

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import structlog

from processors import metrics
from processors.chunks import ChunkConsumer
from processors.dedupe import Allowance, Window
from processors.limit import DeadLetterLimit
from processors.partitions import Partitions
from processors.progress import Progress
from processors.pump import Pump
from processors.rebuild import rebuild
from processors.refine import Source
from processors.refinery import Refinery
from processors.settings import ProcessSettings
from runtime.devices import Places
from runtime.publisher import Publisher
from runtime.settings import KafkaSettings
from runtime.topics import UnknownTopic, topic_ids
from schemas.topics import MAX_BLOCK_BYTES, RAW_TOPICS

log = structlog.get_logger()

_DIALECTS = {topic: dialect for dialect, topic in RAW_TOPICS.items()}


class TopicReplaced(RuntimeError):
    """A raw topic was deleted and created again: what we know of its offsets is of another topic. A new process starts anew."""


class Processor:
    """Owns what one life of the agent needs, from `run` to its end.

    Args:
        consumer: delivers the chunks.
        progress: told how far each partition is.

    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: ProcessSettings,
        devices: Places,
        consumer: ChunkConsumer,
        progress: Progress,
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._devices = devices
        self._consumer = consumer
        self._progress = progress
        self._allowance = Allowance(settings.max_identities)
        self._topic_ids: dict[str, str] = {}

    async def run(self, stream: Any) -> None:
        """Normalise, de-duplicate and enrich each chunk; acknowledge it when its block is on the log.

        Whatever fails ends it, also what runs beside: a rebuild, or a look at the topics.
        """
        settings, app = self._settings, self._consumer.app
        self._topic_ids = await self._ask_topics()
        publisher = Publisher(self._kafka, delivery_timeout=0, max_record_bytes=MAX_BLOCK_BYTES)
        with ThreadPoolExecutor(settings.rebuild_threads, thread_name_prefix="rebuild") as threads:
            async with publisher, asyncio.TaskGroup() as group:
                self._put_together(publisher, threads, group)
                watching = group.create_task(self._watch_topics())
                app.successor = self
                try:
                    self.assigned(self._consumer.owned)
                    await self._pump.run(stream)
                finally:
                    app.successor = None
                watching.cancel()

    def _put_together(self, publisher: Publisher, threads: Executor, group: asyncio.TaskGroup) -> None:
        settings = self._settings
        self._group = group
        self._partitions = Partitions(
            self._consumer,
            self._source,
            self._rebuild,
            lambda: DeadLetterLimit(share=settings.dead_letter_limit, window=settings.dead_letter_window),
            threads=threads,
            start=group.create_task,
            progress=self._progress,
        )
        refinery = Refinery(
            self._consumer,
            self._partitions,
            publisher,
            self._devices,
            allowance=self._allowance,
            progress=self._progress,
        )
        self._pump = Pump(refinery, self._partitions.acknowledged, in_flight=settings.chunks_in_flight)
        metrics.CHUNKS.set_function(lambda: self._pump.outstanding)
        metrics.WINDOWS_AWAITED.set_function(lambda: len(self._partitions.awaited()))
        metrics.CONDEMNED.set_function(lambda: self._allowance.condemned)

    def assigned(self, tps: Iterable[Any]) -> None:
        """See `processors.chunks.Successor`."""
        self._checked = self._group.create_task(self._check_topics())
        self._partitions.assigned(tps)

    def awaited(self) -> frozenset[Any]:
        """See `processors.chunks.Successor`."""
        return self._partitions.awaited()

    async def hand_over(self) -> None:
        """See `processors.chunks.Successor`."""
        self._partitions.abandon()
        await self._pump.settled()

    def troubles(self) -> list[str]:
        """See `processors.chunks.Successor`."""
        return self._partitions.troubles()

    def _rebuild(self, source: Source, committed: int | None, abandoned: threading.Event) -> Window:
        return rebuild(
            self._kafka,
            source,
            committed,
            seconds=self._settings.window_seconds,
            abandoned=abandoned,
            allowance=self._allowance,
        )

    async def _source(self, tp: Any) -> Source:
        # Not before it is sure that the topic is still the same one.
        await asyncio.shield(self._checked)
        return Source(
            dialect=_DIALECTS[tp.topic],
            topic=tp.topic,
            topic_id=self._topic_ids[tp.topic],
            partition=tp.partition,
        )

    async def _ask_topics(self) -> dict[str, str]:
        return dict(await asyncio.to_thread(topic_ids, self._kafka, RAW_TOPICS.values()))

    async def _check_topics(self) -> None:
        ids = await self._ask_topics()
        if replaced := sorted(name for name, known in self._topic_ids.items() if ids[name] != known):
            raise TopicReplaced(f"deleted and created again while we ran: {', '.join(replaced)}")

    async def _watch_topics(self) -> None:
        while True:
            await asyncio.sleep(self._settings.topic_check_seconds)
            try:
                await self._check_topics()
            except UnknownTopic as error:
                # Kafka is away, or the topic is: the next look may tell, and without it nothing is processed anyway.
                log.warning("topics could not be looked at", error=str(error))
