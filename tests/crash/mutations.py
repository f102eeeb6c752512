"""`python -m tests.crash.mutations [NAME…]`: break Headrace on purpose, each time in one way, and see the suite notice.

A mutation is text that is replaced in a copy of the tree. When the text has moved, the mutation fails: it has to follow.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.__main__ import WRONG
from tests.crash.crew import CODE
from tests.support import page

_COPIED = ("headrace", "producers", "processors", "runtime", "schemas", "sinks", "tests")


class Moved(RuntimeError):
    """The text that a mutation replaces is not there, or not once."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement."""

    file: str
    old: str
    new: str

    def apply(self, tree: Path) -> None:
        """Make it.

        Raises:
            Moved: the text is not there exactly once.

        """
        path = tree / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise Moved(f"{self.file} has {text.count(self.old)} times:\n{self.old}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to be wrong, and the cells of which one is to notice it."""

    name: str
    edits: Sequence[Edit]
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Notice:
    """The cell that noticed a mutation, and what it found."""

    cell: str
    finding: str


MUTATIONS: Sequence[Mutation] = (
    Mutation(
        "sink-commits-before-it-inserts",
        [
            Edit(
                "sinks/consumer.py",
                """        reached(Moment.BATCH_STORED)
        self.commit(partition, batch.last + 1, after)
""",
                "",
            ),
            Edit(
                "sinks/consumer.py",
                """        reached(Moment.RANGE_RECORDED)
""",
                """        reached(Moment.RANGE_RECORDED)
        self.commit(partition, batch.last + 1, after)
        reached(Moment.BATCH_STORED)
""",
            ),
        ],
        ["sink-kill-batch-stored"],
    ),
    Mutation(
        "processor-skips-a-block-that-timed-out",
        [
            Edit("processors/processor.py", "delivery_timeout=0,", "delivery_timeout=1,"),
            Edit("processors/pump.py", "await taken.delivered", "await asyncio.wait([taken.delivered])"),
        ],
        ["process-starve"],
    ),
    Mutation(
        "processor-forgets-where-it-first-saw-an-identity",
        [
            Edit("processors/rebuild.py", "if offset >= before:", "if offset >= before + (1 << 40):"),
            Edit(
                "processors/rebuild.py",
                "whole = self.emitted < span.first and span.last < before",
                "whole = self.emitted < span.first",
            ),
        ],
        ["process-kill-blocks-acknowledged"],
    ),
    Mutation(
        "processor-remembers-nothing-of-before",
        [Edit("processors/rebuild.py", "        reading.run(committed)\n", "        pass\n")],
        ["process-kill-blocks-acknowledged"],
    ),
    Mutation(
        "edge-says-accepted-before-kafka-does",
        [
            Edit(
                "producers/outbox.py",
                "        self._callback = callback\n        if self._open == 0:\n",
                "        if self._open >= 0:\n",
            )
        ],
        ["http-starve"],
    ),
    Mutation(
        "processor-counts-a-block-before-kafka-has-it",
        [
            Edit(
                "processors/pump.py",
                """                await taken.delivered
                reached(Moment.BLOCKS_ACKNOWLEDGED)
                self._acknowledged(taken.owned, event.message.tp, taken.offset)
""",
                """                self._acknowledged(taken.owned, event.message.tp, taken.offset)
                await taken.delivered
                reached(Moment.BLOCKS_ACKNOWLEDGED)
""",
            )
        ],
        ["process-starve"],
    ),
    Mutation(
        "sink-asks-for-no-watermark",
        [Edit("sinks/partition.py", "    if span.first > watermark:\n", "    if span.first >= 0:\n")],
        ["process-kill-blocks-acknowledged"],
    ),
    Mutation(
        "sink-writes-what-it-happens-to-have",
        [
            Edit(
                "sinks/partition.py",
                """        if self.progress.pending is not None:
            return self.progress.pending
""",
                "",
            ),
            Edit(
                "sinks/partition.py",
                "            return self.complete\n",
                "            return bool(self._blocks)\n",
            ),
        ],
        ["sink-kill-table-inserted"],
    ),
)


def main() -> int:
    """Try the mutations; 0 if each was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to try; all by default")
    parser.add_argument(
        "--page", type=Path, help="Markdown file whose section is written anew; only with all mutations"
    )
    arguments = parser.parse_args()
    names = arguments.names
    chosen = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    found = {mutation.name: _notice(mutation) for mutation in chosen}
    missed = [name for name, notice in found.items() if not notice]
    print(
        f"\n{len(chosen)} mutations: {len(chosen) - len(missed)} noticed, {len(missed)} not {' '.join(missed)}"
    )
    if arguments.page and not names:
        page.rewrite(arguments.page, "make mutants", markdown(found))
    return 1 if missed or not chosen else 0


def markdown(found: Mapping[str, Notice | None]) -> str:
    """The section of the documentation."""
    rows = [
        (f"`{name}`", f"`{notice.cell}`", notice.finding) if notice else (f"`{name}`", "none", "")
        for name, notice in found.items()
    ]
    return page.table(("mutation", "cell that notices it", "what it finds"), rows)


def _notice(mutation: Mutation) -> Notice | None:
    with tempfile.TemporaryDirectory(prefix="headrace-mutation-") as folder:
        tree = Path(folder)
        copy(tree)
        for edit in mutation.edits:
            edit.apply(tree)
        for cell in mutation.cells:
            command = [sys.executable, "-m", "tests.crash", cell]
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
            findings = [line for line in done.stdout.splitlines() if line.startswith("    ")]
            # Python that came to grief ends with 1, too.
            if done.returncode == WRONG and findings:
                print(f"{mutation.name:<52} noticed by {cell}", *findings, sep="\n", flush=True)
                # What is only an example is not the same the next time.
                return Notice(cell, "; ".join(line.partition(", such as")[0].strip() for line in findings))
            print(
                f"{mutation.name:<52} NOT noticed by {cell}\n{done.stdout}{done.stderr[-2000:]}", flush=True
            )
    return None


def copy(tree: Path) -> None:
    """The source and its tests, without what was made of them."""
    for name in _COPIED:
        shutil.copytree(CODE / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CODE / "pyproject.toml", tree)


if __name__ == "__main__":
    sys.exit(main())
