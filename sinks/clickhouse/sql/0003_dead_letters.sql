-- One row a message that could not be used, with its untouched bytes.
CREATE TABLE IF NOT EXISTS dead_letters ${on_cluster}
(
    origin_topic     LowCardinality(String),
    origin_topic_id  LowCardinality(String),
    origin_partition UInt16,
    origin_offset    Int64,
    reason           LowCardinality(String),
    error            String CODEC(ZSTD(1)),
    body             String CODEC(ZSTD(1)) COMMENT 'the raw record as it stands on the log',
    tenant           LowCardinality(String),
    device           String,
    dialect          LowCardinality(String),
    place            LowCardinality(String),
    received_at      DateTime64(6, 'UTC'),
    logged_at        DateTime64(3, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY toYYYYMM(logged_at)
ORDER BY (origin_topic, origin_partition, origin_offset)
SETTINGS ${dedup_window} = 100000;
