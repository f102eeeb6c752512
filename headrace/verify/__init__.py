"""`headrace verify`: the raw log, `readings` and ClickHouse held side by side, message by message."""
