-- One row an accepted message, whatever became of it. Kept for a month: an id on every reading would cost more bytes
-- than the reading.
CREATE TABLE IF NOT EXISTS messages ${on_cluster}
(
    origin_topic     LowCardinality(String),
    origin_topic_id  LowCardinality(String),
    origin_partition UInt16,
    origin_offset    Int64 CODEC(Delta, ZSTD(1)),
    fate             LowCardinality(String) COMMENT 'stored, duplicate or dead_letter',
    reason           LowCardinality(String) COMMENT 'of a dead letter',
    identity         FixedString(16) CODEC(NONE),
    message_id       String CODEC(ZSTD(1)),
    tenant           LowCardinality(String),
    device           String CODEC(ZSTD(1)),
    dialect          LowCardinality(String),
    place            LowCardinality(String),
    labels           Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    readings         UInt32 CODEC(ZSTD(1)),
    received_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'by the clock of the edge',
    logged_at        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'by the clock of Kafka',
    stored_at        DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'by the clock of ClickHouse',
    traceparent      String CODEC(ZSTD(1)),
    tracestate       String CODEC(ZSTD(1))
)
ENGINE = ${replicated}MergeTree
PARTITION BY toYYYYMMDD(logged_at)
ORDER BY (origin_topic, origin_partition, origin_offset)
TTL toDateTime(logged_at) + INTERVAL 30 DAY
SETTINGS ${dedup_window} = 100000, ttl_only_drop_parts = 1;
