"""What the operator's commands share: a bar while they work, and a sentence when they cannot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.pipeline import Goal, Pipeline


def progress() -> Progress:
    """A bar on standard error, gone in the end; nothing where no person looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def told(*expected: type[Exception]) -> Iterator[None]:
    """Tell of an expected failure in its own words, and end the command with 1."""
    try:
        yield
    except expected as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def wait_for(pipeline: Pipeline, goals: Sequence[Goal], *, patience: float) -> None:
    """Return when the pipeline has handled all of this, with a bar that says what is to come; raises as `Pipeline.wait`."""
    with progress() as bar:
        task = bar.add_task("pipeline", total=None)
        pipeline.wait(
            goals,
            patience=patience,
            report=lambda missing: bar.update(task, description=f"pipeline, {missing:,} to come"),
        )
