"""Clean readings in, ClickHouse out."""
