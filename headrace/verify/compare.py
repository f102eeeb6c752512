"""Compare: one raw partition after the other, three places side by side, a page at a time."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

from headrace.verify.emissions import Emissions
from headrace.verify.findings import Account
from headrace.verify.judge import Judge
from headrace.verify.logs import RawLog, records
from headrace.verify.page import Page, pages
from headrace.verify.ranges import Range
from headrace.verify.repeats import Repeats
from headrace.verify.storage import Storage
from runtime.settings import KafkaSettings
from schemas.topics import READINGS


class Comparison:
    """Reads and judges ranges of raw partitions.

    Memory, however long the range: a page of 50,000 messages (about 50 MB), 64 MiB of records fetched ahead, a MiB of fates,
    and about 250 bytes for each message that was kept within the window, of one raw partition at a time.

    Args:
        kafka: where the logs are.
        client: of clickhouse-connect.
        window_seconds: of the processors' de-duplication.
        limit: findings that are kept of a kind and a partition; all are counted.

    """

    def __init__(self, kafka: KafkaSettings, client: Any, *, window_seconds: int, limit: int) -> None:
        self._kafka = kafka
        self._client = client
        self._window_seconds = window_seconds
        self._limit = limit

    def still_there(self, wanted: Range) -> Range:
        """The part of the range that `readings` still has."""
        if not wanted.size or not wanted.readings_are_cut:
            return wanted
        with closing(self._blocks(wanted)) as found:
            emissions = Emissions(found, wanted.origin, lambda *_: None)
            emissions.begin()
            return wanted.cut(emissions.first)

    def accounts(self, ranges: Sequence[Range], advance: Callable[[int], None]) -> Iterator[Account]:
        """The account of each range, in their order; `advance` is told of offsets that are done.

        Raises:
            Unjudged: Kafka or ClickHouse stopped answering, or retention was faster.

        """
        for _, each in groupby(ranges, key=lambda one: one.origin.topic):
            of_topic = list(each)
            judged = {one.origin: (one.first, one.last) for one in of_topic if one.judged}
            storage = Storage(self._client, judged)
            if judged:
                storage.sum()
            for one in of_topic:
                yield self._account(one, storage, advance)

    def _account(self, one: Range, storage: Storage, advance: Callable[[int], None]) -> Account:
        account = Account(
            origin=one.origin,
            first=one.first,
            last=one.last,
            waiting=one.waiting,
            limit=self._limit,
            note=one.note,
        )
        if not one.judged:
            return account
        judge = Judge(account, Repeats(seconds=self._window_seconds, known_from=one.known_from))
        with closing(self._records(one)) as records_, closing(self._blocks(one)) as blocks:
            raw, emissions = RawLog(records_), Emissions(blocks, one.origin, judge.contradicted)
            for first, last in pages(one.begin, one.first - 1):
                judge.watch(
                    Page(first=first, last=last, accepted=raw.page(last), emitted=emissions.page(first, last))
                )
                advance(last + 1 - first)
            for first, last in pages(one.first, one.last):
                page = Page(
                    first=first,
                    last=last,
                    accepted=raw.page(last),
                    emitted=emissions.page(first, last),
                    stored=storage.messages(one.origin, first, last),
                    letters=storage.letters(one.origin, first, last),
                )
                judge.judge(page)
                if not storage.agrees(one.origin, page):
                    judge.readings(page, storage.readings(one.origin, page))
                advance(last + 1 - first)
            emissions.drain()
        account.uncompared = emissions.uncompared
        return account

    def _records(self, one: Range) -> Generator[Any]:
        origin = one.origin
        return records(
            self._kafka, origin.topic, origin.partition, one.begin, min(one.raw.high, one.last + 1)
        )

    def _blocks(self, one: Range) -> Generator[Any]:
        return records(self._kafka, READINGS, one.origin.partition, one.readings_begin, one.readings.high)
