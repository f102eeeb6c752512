"""Records, their schemas and the bytes of every released version agree."""

import inspect
import json
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from schemas import codec, reading_block
from schemas.codec import Record
from tests.support.schema_samples import SAMPLES, WRITTEN

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "schemas").glob("*.avsc"))


def record_of(schema: Path) -> type[Record]:
    """The one record class of the module beside a schema."""
    module = import_module(f"schemas.{schema.name.split('.')[0]}")
    own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    (record,) = [c for c in own if issubclass(c, Record)]
    return record


def newest() -> list[Path]:
    """The newest schema of each record."""
    return list({path.name.split(".")[0]: path for path in SCHEMAS}.values())


@pytest.mark.parametrize("schema", newest(), ids=lambda path: path.name)
def test_a_record_and_its_schema_name_the_same_fields(schema):
    """The Python class and the newest schema beside it have the same name, and the same fields in the same order."""
    record, parsed = record_of(schema), json.loads(schema.read_text())

    assert (record.__name__, list(record.__struct_fields__)) == (
        parsed["name"],
        [field["name"] for field in parsed["fields"]],
    )


@pytest.mark.parametrize("schema", newest(), ids=lambda path: path.name)
def test_a_record_and_its_schema_have_the_same_defaults(schema):
    """What Python fills in for a field that was not given is what Avro fills in for a field that was not written."""
    in_schema = {f["name"]: f["default"] for f in json.loads(schema.read_text())["fields"] if "default" in f}
    in_class = {
        field.name: field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        for field in msgspec.structs.fields(record_of(schema))
        if not field.required
    }

    assert in_schema == json.loads(msgspec.json.encode(in_class))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
def test_every_version_has_stored_bytes(schema):
    """No version of a schema is released without a sample of what it wrote."""
    assert schema.stem in WRITTEN
    assert (SAMPLES / f"{schema.stem}.bin").exists()


@pytest.mark.parametrize("version", WRITTEN)
def test_bytes_of_every_version_still_decode(version):
    """What any release wrote to the log, this one reads."""
    expected = WRITTEN[version]

    assert expected == codec.decode(type(expected), (SAMPLES / f"{version}.bin").read_bytes())


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("reading_block.v*.bin")), ids=lambda path: path.name)
def test_blocks_of_every_version_still_decode(sample):
    """A block that any release wrote reads as a block of today, with the readings it had."""
    block = reading_block.decode(sample.read_bytes())

    assert [[("temperature", "telemetry"), ("on", "attributes")], [], []] == [
        [(reading["quantity"], reading["feature"]) for reading in readings]
        for readings in block.column("readings").to_pylist()
    ]


def test_the_newest_block_is_among_the_samples():
    """The columns of today are stored too, so that tomorrow's release is tested against them."""
    newest_sample = max(SAMPLES.glob("reading_block.v*.bin"))
    with reading_block.pa.ipc.open_stream(newest_sample.read_bytes()) as reader:
        assert reading_block.SCHEMA == reader.schema
