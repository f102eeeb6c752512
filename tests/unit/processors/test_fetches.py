import asyncio

from structlog.testing import capture_logs

from processors.fetches import FetchTask


async def test_a_consumer_that_fails_says_so_and_keeps_nobody_waiting():
    """What ends it is logged, and who waits for its end goes on."""
    ended = asyncio.Event()

    class Failing:
        """A service that cannot serve."""

        async def _serve(self):
            raise RuntimeError("Kafka would not have it")

        def set_shutdown(self):
            """See `mode.threads.ServiceThread`."""
            ended.set()

    worker = FetchTask.Worker(Failing())
    with capture_logs() as logs:
        worker.start()
        await asyncio.wait_for(ended.wait(), 5)
    worker.stop()

    assert ["Faust's consumer has failed"] == [line["event"] for line in logs]
