-- One row a reading. Ordered for "one device over time"; a fleet over time is what readings_1m is for.
--
-- Partitioned by when a reading arrived, not by when it was measured: a device chooses its measurement times, and one
-- message with a hundred different months would otherwise make a hundred parts.
CREATE TABLE IF NOT EXISTS readings ${on_cluster}
(
    tenant           LowCardinality(String),
    device           String CODEC(ZSTD(1)),
    feature          LowCardinality(String) COMMENT 'telemetry, or attributes: what the device says about itself',
    quantity         LowCardinality(String),
    sensor           LowCardinality(String),
    measured_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kind             LowCardinality(String) COMMENT 'bool, int64, float64, string or json: which column holds the value',
    number           Float64 CODEC(ZSTD(1)) COMMENT 'bool, int64 and float64; 0 for the other kinds',
    integer          Int64 CODEC(Delta, ZSTD(1)) COMMENT 'bool and int64, exactly; 0 for the other kinds',
    text             String CODEC(ZSTD(1)) COMMENT 'string and json; empty for the other kinds',
    unit             LowCardinality(String),
    place            LowCardinality(String) COMMENT 'where the device was registered when the reading arrived',
    dialect          LowCardinality(String),
    received_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    origin_partition UInt16 CODEC(Delta, ZSTD(1)),
    origin_offset    Int64 CODEC(Delta, ZSTD(1)) COMMENT 'with dialect and origin_partition: the message, see messages',
    position         UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'counts the readings of one message'
)
ENGINE = ${replicated}MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, device, feature, quantity, sensor, measured_at)
SETTINGS ${dedup_window} = 10000;
