-- Count, sum, least, greatest and last number of each minute. Ordered for "one quantity over the fleet".
--
-- The minute is computed from microseconds because toStartOfMinute ends in the year 2106.
CREATE TABLE IF NOT EXISTS readings_1m_state ${on_cluster}
(
    received_month Date,
    tenant         LowCardinality(String),
    feature        LowCardinality(String),
    quantity       LowCardinality(String),
    minute         DateTime64(0, 'UTC') CODEC(Delta, ZSTD(1)),
    device         String CODEC(ZSTD(1)),
    sensor         LowCardinality(String),
    count          SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)),
    sum            SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    least          SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    greatest       SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1)),
    last           SimpleAggregateFunction(max, Tuple(
        measured_at DateTime64(6, 'UTC'), origin_offset Int64, position UInt32, number Float64)) CODEC(ZSTD(1))
)
ENGINE = ${replicated}AggregatingMergeTree
PARTITION BY received_month
ORDER BY (tenant, feature, quantity, minute, device, sensor)
SETTINGS ${dedup_window} = 100000;

CREATE MATERIALIZED VIEW IF NOT EXISTS readings_1m_feed ${on_cluster} TO readings_1m_state AS
SELECT
    toStartOfMonth(received_at) AS received_month,
    tenant,
    feature,
    quantity,
    fromUnixTimestamp64Micro(
        toUnixTimestamp64Micro(measured_at) - positiveModulo(toUnixTimestamp64Micro(measured_at), 60000000), 'UTC') AS minute,
    device,
    sensor,
    count() AS count,
    sum(number) AS sum,
    min(number) AS least,
    max(number) AS greatest,
    max(tuple(measured_at, origin_offset, position, number)) AS last
FROM readings
WHERE kind IN ('bool', 'int64', 'float64')
GROUP BY received_month, tenant, feature, quantity, minute, device, sensor;

CREATE VIEW IF NOT EXISTS readings_1m ${on_cluster} AS
SELECT
    s.tenant AS tenant, s.feature AS feature, s.quantity AS quantity, s.minute AS minute, s.device AS device, s.sensor AS sensor,
    sum(s.count) AS count,
    sum(s.sum) AS sum,
    min(s.least) AS least,
    max(s.greatest) AS greatest,
    sum(s.sum) / sum(s.count) AS mean,
    max(s.last).number AS last
FROM readings_1m_state AS s
GROUP BY s.tenant, s.feature, s.quantity, s.minute, s.device, s.sensor;
