"""ClickHouse's HTTP interface over its embedded engine (chDB), as a process of its own."""
