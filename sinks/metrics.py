"""Every metric that a sink exposes."""

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("headrace_sink_rows", "Rows that ClickHouse acknowledged.", ["table"])
BATCHES = Counter("headrace_sink_batches", "Batches written and committed.")
REPLAYED = Counter(
    "headrace_sink_batches_replayed", "Batches that an earlier owner had recorded, written once more."
)
REEMITTED = Counter(
    "headrace_sink_messages_reemitted", "Messages dropped because their origin was stored already."
)
GAPS = Counter("headrace_sink_origin_gaps", "Blocks that do not begin where the one before ended.")
RETRIES = Counter(
    "headrace_sink_insert_retries",
    "Attempts that will be made again, by ClickHouse's error or the kind of failure.",
    ["code"],
)
HELD = Gauge("headrace_sink_held", "1 while nothing is written because of this.", ["code"])
UNWRITABLE = Counter(
    "headrace_sink_messages_unwritable", "Messages that became dead letters because ClickHouse refuses them."
)
FENCED = Counter(
    "headrace_sink_fenced", "Batches given up because the partition belongs to another sink now."
)
INSERT_SECONDS = Histogram("headrace_sink_insert_seconds", "One insert into one table.", ["table"])
BUFFERED = Gauge("headrace_sink_buffered_bytes", "What blocks take that wait to be written.")
FETCHED = Gauge("headrace_sink_fetched_bytes", "Bytes of blocks that are fetched ahead, every ten seconds.")
STORED_TIME = Gauge(
    "headrace_sink_stored_log_time_seconds",
    "Log time of the newest stored message; now minus this is the lag.",
    ["topic"],
)
