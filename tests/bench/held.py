"""What something holds, beside the most that it may."""

from collections.abc import Mapping

import msgspec
from rich.table import Table

from tests.bench.line import Chart


class Held(msgspec.Struct, frozen=True):
    """Sizes of one thing, in several circumstances."""

    line: str
    unit: str
    sizes: Mapping[str, float]
    """By circumstance."""
    most: float
    """That each of them may be."""

    def missed(self) -> list[str]:
        """See `tests.bench.line.Shown`."""
        return [
            f"{self.line}: {size:,.0f} {self.unit} with {name}, {self.most:g} are allowed"
            for name, size in self.sizes.items()
            if size > self.most
        ]

    def table(self) -> Table:
        """Each size, and the most."""
        table = Table(self.line, box=None, title_justify="left")
        for header in (self.unit, "allowed"):
            table.add_column(header, justify="right")
        for name, size in self.sizes.items():
            table.add_row(name, f"{size:,.0f}", f"{self.most:g}")
        return table

    def chart(self) -> Chart:
        """A bar for each circumstance."""
        return Chart(f"{self.line}\n{self.unit}", [""], {name: [size] for name, size in self.sizes.items()})
