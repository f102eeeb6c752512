-- One row a batch of `headrace replay`, and one a partition when it begins: the range, fixed once for all runs of an epoch, and
-- how far it is stored. A command that was killed goes on from the greatest `next`.
CREATE TABLE IF NOT EXISTS replays ${on_cluster}
(
    epoch            String,
    target           String COMMENT 'the table that is written to',
    since            DateTime64(3, 'UTC') COMMENT 'by the clock of Kafka, as it was asked for',
    until            DateTime64(3, 'UTC'),
    origin_topic     String,
    origin_topic_id  String,
    origin_partition UInt16,
    first            Int64,
    end              Int64 COMMENT 'the first offset beyond the range',
    next             Int64 COMMENT 'everything before it is stored',
    messages         UInt64 COMMENT 'of this batch',
    readings         UInt64,
    refused          UInt64 COMMENT 'messages of this batch that were stored once, and cannot be read any more',
    written_at       DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ${replicated}MergeTree
ORDER BY (epoch, target, origin_topic, origin_partition, next)
SETTINGS ${dedup_window} = 10000;
