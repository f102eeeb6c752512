"""What CONTRIBUTING asks of the whole source, checked."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "runtime", "producers", "processors", "sinks", "headrace")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PROJECT = (ROOT / "pyproject.toml").read_text()

FUNCTION_LINES = 40
MODULE_LINES = 300
NO_ROOMS = {"base", "common", "core", "helpers", "manager", "misc", "shared", "utils"}
SKIPPED = {"__pycache__", "samples"}

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())


def texts() -> Iterator[Path]:
    """Every file of the project that people write."""
    for entry in ROOT.iterdir():
        if entry.is_file() and entry.suffix != ".lock":
            yield entry
        elif entry.is_dir() and entry.name in {*PACKAGES, "tests", "deploy", ".ci"}:
            yield from (
                path
                for path in entry.rglob("*")
                if path.is_file() and path.suffix != ".lock" and not SKIPPED & set(path.parts)
            )


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code: neither blank, nor comment, nor docstring."""
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {n for t in tokens if t.type not in silent for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def test_rooms_import_what_they_may():
    """Every import contract in pyproject.toml is kept."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_there_is_no_room_for_everything():
    """No folder and no module has a name that would take in anything."""
    assert [] == [path for path in MODULES if NO_ROOMS & {path.stem, *path.relative_to(ROOT).parts}]


@each_module
def test_a_module_says_what_it_is(module):
    """A module opens with one sentence that would fit the tree."""
    docstring = ast.get_docstring(ast.parse(module.read_text())) or ""

    assert docstring.partition("\n")[0].endswith(".")


@each_module
def test_a_module_fits_on_a_few_screens(module):
    """A module that outgrows its budget is two modules."""
    assert len(code_lines(module.read_text())) <= MODULE_LINES


@each_module
def test_functions_fit_on_a_screen(module):
    """A function that outgrows its budget is two functions."""
    source = module.read_text()
    code = code_lines(source)
    functions = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert {} == {
        function.name: lines
        for function in functions
        if (lines := len(code & set(range(function.body[0].lineno, function.end_lineno + 1))))
        > FUNCTION_LINES
    }


@each_module
def test_nothing_is_global(module):
    """No function changes a module's variable."""
    assert not [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Global)]


def test_nothing_is_left_to_do():
    """What should be done is in the tracker, not in the source."""
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r"\b")

    assert [] == [path for path in texts() if marks.search(path.read_text(errors="replace"))]


def test_every_silenced_type_error_is_named():
    """A type error is silenced by its code, never wholesale."""
    wholesale = re.compile(r"#\s*type:\s*" + r"ignore(?!\[)")

    assert [] == [path for path in texts() if path.suffix == ".py" and wholesale.search(path.read_text())]


def test_every_silenced_lint_carries_its_reason():
    """A rule is silenced by its code, with the reason behind it."""
    silenced = re.compile(r"#\s*no" + r"qa\b(?!: [A-Z]+\d+(, ?[A-Z]+\d+)*[ \t]+\S)")

    assert [] == [path for path in texts() if path.suffix == ".py" and silenced.search(path.read_text())]


def test_the_project_knows_no_other_place():
    """No file leads to a path outside the project."""
    elsewhere = re.compile(r"\.\./shared|/(work|root)/")

    assert [] == [path for path in texts() if elsewhere.search(path.read_text(errors="replace"))]


def test_every_dependency_carries_its_reason():
    """A dependency stands under a comment that says why it is here, its own or one that names it."""
    listed = PROJECT[PROJECT.index("\ndependencies = [") :].partition("\n]")[0].splitlines()[2:]
    reason, unexplained = "", []
    for line in map(str.strip, listed):
        if line.startswith("#"):
            reason, own = line, True
        elif own or re.match(r'"([a-z0-9-]+)', line)[1] in reason:
            own = False
        else:
            unexplained.append(line)

    assert [] == unexplained


@pytest.mark.parametrize("group", ["local", "dev", "peers"])
def test_every_group_of_dependencies_carries_its_reason(group):
    """A group of dependencies says what it is for, above it or in it."""
    assert re.search(rf"(#[^\n]*\n{group} = \[)|({group} = \[\n\s*#)", PROJECT)
