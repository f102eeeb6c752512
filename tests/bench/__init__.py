"""Benches: figures of a running Headrace, each printed by a command of its own."""
