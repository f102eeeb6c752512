"""The local stack: all of Headrace on one machine, from a real Kafka to a real ClickHouse engine."""
