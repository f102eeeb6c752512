"""Charts of the bench, as SVG. Imported only to draw: pygal puts a finder into the import system that warns of itself."""

from typing import cast

import pygal

from tests.bench.line import OURS, Chart

_WIDTH = 720
_COLOURS = {True: "#d9480f", False: "#adb5bd"}
"""Ours, and the others."""


def draw(chart: Chart) -> bytes:
    """The chart as an SVG document."""
    drawn = _bars(chart) if len(chart.points) == 1 else _lines(chart)
    return cast("bytes", drawn.render())


def _bars(chart: Chart) -> pygal.HorizontalBar:
    # pygal begins at the bottom.
    values = {name: value for name, (value,) in reversed(chart.series.items())}
    drawn = pygal.HorizontalBar(
        title=chart.title,
        show_legend=False,
        range=(0, 1.05 * max(values.values())),
        height=120 + 40 * len(values),
        width=_WIDTH,
        formatter=lambda value: f"{value:,.0f}",
    )
    drawn.x_labels = [f"{name}: {value:,.0f}" for name, value in values.items()]
    drawn.add("", [{"value": value, "color": _COLOURS[name == OURS]} for name, value in values.items()])
    return drawn


def _lines(chart: Chart) -> pygal.Line:
    most = max(map(max, chart.series.values()))
    drawn = pygal.Line(title=chart.title, height=320, width=_WIDTH, range=(0, 1.1 * most))
    drawn.x_labels = list(chart.points)
    for name, values in chart.series.items():
        drawn.add(name, list(values))
    return drawn
