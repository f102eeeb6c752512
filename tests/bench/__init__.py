"""Benches: figures that take minutes and the whole stack; run by hand, each by `python -m tests.bench.NAME --help`."""
