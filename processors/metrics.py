"""Every metric that a processor exposes."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter(
    "headrace_process_messages",
    "Messages by fate; after a restart some are counted again, what is stored is in ClickHouse's table messages.",
    ["dialect", "fate"],
)
READINGS = Counter("headrace_process_readings", "Readings emitted.", ["dialect"])
DEAD_LETTERS = Counter(
    "headrace_process_dead_letters", "Messages that could not be used.", ["dialect", "reason"]
)
BLOCKS = Counter("headrace_process_blocks", "Blocks emitted.")
BLOCK_BYTES = Histogram(
    "headrace_process_block_bytes", "Size of a block.", buckets=[1 << n for n in range(10, 24, 2)]
)
CHUNK_SECONDS = Histogram(
    "headrace_process_chunk_seconds", "From a chunk of raw records to its blocks, ready to send."
)
REDELIVERED = Counter("headrace_process_redelivered", "Raw records that Faust delivered again, dropped.")
RESEEKS = Counter(
    "headrace_process_reseeks", "Times that Faust left out raw records, and was sent back to them."
)
HOLES = Counter(
    "headrace_process_log_holes", "Offsets that are gone from a raw topic before they were processed."
)
REMEMBERED = Gauge(
    "headrace_process_remembered_identities",
    "Identities in the de-duplication window.",
    ["dialect", "partition"],
)
CONDEMNED = Gauge(
    "headrace_process_condemned_offsets",
    "Raw records that a rebuild found behind the committed offset as dead letters, and that stay ones.",
)
FETCHED = Gauge(
    "headrace_process_fetched_partitions", "Partitions whose next records are fetched, and wait to be taken."
)
CHUNKS = Gauge(
    "headrace_process_chunks_in_flight",
    "Chunks of raw records whose blocks are made, or on their way to Kafka.",
)
WINDOWS_AWAITED = Gauge(
    "headrace_process_windows_awaited", "Partitions that stand still until their window is rebuilt."
)
REBUILD_SECONDS = Histogram(
    "headrace_process_window_rebuild_seconds", "Rebuilding a partition's window from `readings`."
)
REBUILT = Counter(
    "headrace_process_rebuilt_identities", "Identities that rebuilds brought back into windows."
)
FORGOTTEN = Counter(
    "headrace_process_forgotten_identities",
    "Identities that were forgotten before their time, for lack of room; their repeats count as new.",
)
HELD = Gauge(
    "headrace_process_partition_held",
    "1: the partition stands still, because too many of its messages were dead letters.",
    ["dialect", "partition"],
)


def forget(dialect: str, partition: int) -> None:
    """Show nothing of a partition that another processor has now: it would count twice."""
    for gauge in (REMEMBERED, HELD):
        gauge.remove(dialect, partition)


def show(dialect: str, partition: int, identities: int, *, held: bool) -> None:
    """Show a partition that is ours from now on."""
    REMEMBERED.labels(dialect, partition).set(identities)
    if held:
        HELD.labels(dialect, partition).set(1)
