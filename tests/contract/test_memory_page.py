"""docs/memory.md says what is: its metrics and settings exist, and its numbers are those of the code."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from runtime.settings import Section

PROCESSES = ("producers.http.server", "producers.coap.server", "processors.app", "sinks.app")

PAGE = (Path(__file__).parents[2] / "docs" / "memory.md").read_text()

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}

HOLDS_NOTHING = {"headrace_sink_stored_log_time_seconds"}
"""Gauges that say something else than how much is held."""


@pytest.fixture(name="metrics", scope="module")
def _metrics() -> dict[str, str]:
    """The metrics of the four processes as they are shown, and what each one is."""
    for process in PROCESSES:
        importlib.import_module(process)
    families = REGISTRY.collect()
    return {f"{each.name}_total" if each.type == "counter" else each.name: each.type for each in families}


def sections(section: type[Section] = Section) -> Iterator[type[Section]]:
    """Every group of settings."""
    for each in section.__subclasses__():
        yield each
        yield from sections(each)


def settings() -> dict[str, object]:
    """Every variable that a process reads, and its default."""
    return {
        f"{each.model_config['env_prefix']}{name.upper()}": field.default
        for each in sections()
        for name, field in each.model_fields.items()
    }


def constant(dotted: str) -> object:
    """What a module calls so."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_metric_on_the_page_is_shown(metrics: dict[str, str]):
    """An operator finds what the page names."""
    named = set(re.findall(r"`((?:headrace|process)_[a-z_]+)`", PAGE))

    assert len(named) > 20
    assert named - metrics.keys() == set()


def test_everything_that_is_held_is_on_the_page(metrics: dict[str, str]):
    """A gauge that is added says on the page what bounds it."""
    gauges = {name for name, kind in metrics.items() if kind == "gauge" and name.startswith("headrace_")}

    assert {
        name for name in gauges - HOLDS_NOTHING if f"`{name}`" not in PAGE and "_test_" not in name
    } == set()


def test_every_setting_on_the_page_exists():
    """What the page says to set is not refused."""
    named = set(re.findall(r"HEADRACE_\w+", PAGE))

    assert len(named) > 5
    assert named - settings().keys() == set()


@pytest.mark.parametrize(
    ("number", "unit", "name"), re.findall(r"([\d,]+)(?: (KiB|MiB))? \(`([\w.]+)`\)", PAGE), ids=str
)
def test_every_number_on_the_page_is_the_codes(number: str, unit: str, name: str):
    """A bound that is changed is changed on the page as well."""
    known = settings()[name] if name.startswith("HEADRACE_") else constant(name)

    assert int(number.replace(",", "")) * UNITS[unit] == known


def test_every_name_on_the_page_has_its_number():
    """No constant is named without what it is."""
    assert len(re.findall(r"\(`[\w.]+\.[A-Z_]+`\)", PAGE)) == len(
        re.findall(r"\d(?: [KM]iB)? \(`[\w.]+\.[A-Z_]+`\)", PAGE)
    )
