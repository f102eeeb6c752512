-- The newest value of each quantity of each device. The greatest tuple is the newest measurement, and of several at the
-- same instant the one that arrived last; a late or repeated reading changes nothing.
CREATE TABLE IF NOT EXISTS latest_state ${on_cluster}
(
    tenant   LowCardinality(String),
    device   String,
    feature  LowCardinality(String),
    quantity LowCardinality(String),
    sensor   LowCardinality(String),
    newest   SimpleAggregateFunction(max, Tuple(
        measured_at DateTime64(6, 'UTC'), origin_offset Int64, position UInt32,
        kind String, number Float64, integer Int64, text String, unit String, place String))
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (tenant, device, feature, quantity, sensor)
SETTINGS ${dedup_window} = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS latest_feed ${on_cluster} TO latest_state AS
SELECT
    tenant, device, feature, quantity, sensor,
    max(tuple(measured_at, origin_offset, position, toString(kind), number, integer, text, toString(unit), toString(place)))
        AS newest
FROM readings
GROUP BY tenant, device, feature, quantity, sensor;

CREATE VIEW IF NOT EXISTS latest ${on_cluster} AS
SELECT
    tenant, device, feature, quantity, sensor,
    (max(newest) AS n).measured_at AS measured_at,
    n.kind AS kind, n.number AS number, n.integer AS integer, n.text AS text, n.unit AS unit, n.place AS place
FROM latest_state
GROUP BY tenant, device, feature, quantity, sensor;
