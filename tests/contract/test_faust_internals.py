"""What `processors.chunks` takes for granted in faust-streaming, so that an upgrade that moves it fails here."""

import ast
import asyncio
import inspect
import textwrap
from importlib.metadata import version

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher as KafkaFetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust import App, Schema
from faust.app.base import App as BaseApp
from faust.tables.recovery import Recovery
from faust.topics import Topic
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.consumer import ConsumerThread, Fetcher, ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, ConsumerRebalanceListener, Transport
from faust.transport.drivers.aiokafka import Consumer as KafkaConsumer
from faust.types.tuples import ConsumerMessage, Message
from mode.services import Service
from mode.threads import QueueServiceThread, ServiceThread

from processors.app import build
from processors.chunks import Chunk, ChunkConsumer, ChunkTransport
from processors.fetches import fetched_partitions
from processors.settings import ProcessSettings
from runtime.devices import PlaceTable
from runtime.settings import KafkaSettings


def parameters(function):
    """The names of a function's parameters."""
    return list(inspect.signature(function).parameters)


def names(function):
    """Every attribute and variable that a function's source mentions."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }


@pytest.fixture(name="app")
def _app():
    """The processor's app, as it is before anything connects."""
    return build(KafkaSettings(), ProcessSettings(), PlaceTable())


@pytest.mark.parametrize(("name", "pinned"), [("faust-streaming", "0.15.3"), ("aiokafka", "0.14.0")])
def test_the_version_is_the_one_that_was_read(name, pinned):
    """What is pinned here was read in this version."""
    assert pinned == version(name)


def test_a_record_is_delivered_as_it_was_read(app):
    """What aiokafka's reader yields goes through one method, that the app replaces, and is all that a raw record is."""
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 16,
    )
    batch.append(0, timestamp=1_790_000_000_123, key=b"key", value=b"value", headers=[("name", b"bytes")])
    assert isinstance(app.transport, ChunkTransport)

    (found,) = PartitionRecords(
        TopicPartition("raw-graph", 0), MemoryRecords(bytes(batch.build())), None, 0, None, None, True, 0
    )

    assert "_consumer_record" in names(PartitionRecords._unpack_records)
    assert (0, 1_790_000_000_123, b"key", b"value", [("name", b"bytes")]) == (
        found.offset,
        found.timestamp,
        found.key,
        found.value,
        list(found.headers),
    )


def test_the_apps_transport_is_ours(app):
    """The app asks `_new_transport` for its transport, and that has our consumer."""
    assert "_new_transport" in names(BaseApp.transport.fget)
    assert isinstance(app.transport, ChunkTransport)


def test_a_transport_makes_the_consumer_of_its_class():
    """`Transport.create_consumer` makes what `Transport.Consumer` names."""
    assert "Consumer" in names(Transport.create_consumer)
    assert KafkaConsumer is Transport.Consumer


def test_kafka_is_told_to_gather():
    """The consumer of Faust's thread is made by `_create_worker_consumer`, and starts with what it was told to fetch."""
    assert "_create_worker_consumer" in names(AIOKafkaConsumerThread._create_consumer)
    assert {"_fetch_min_bytes", "_fetch_max_wait_ms"} <= names(AIOKafkaConsumer.start)
    assert "FetchTask" in names(ChunkConsumer._new_consumer_thread)
    assert "_new_consumer_thread" in names(ThreadDelegateConsumer.__init__)


def test_a_service_in_a_thread_may_have_a_task_instead():
    """Mode starts and stops what `Worker` makes, which serves on the loop that was given, and sweeps that loop in one place."""
    assert {"Worker", "start", "_thread_running"} <= names(ServiceThread.start)
    assert "stop" in names(ServiceThread.stop)
    assert {"_serve", "set_shutdown"} <= names(ServiceThread._start_thread)
    assert "_gather_remaining_tasks" in names(ServiceThread._serve)
    assert "all_tasks" in names(ServiceThread._gather_remaining_tasks)
    assert "thread_loop" in parameters(ServiceThread.__init__)


async def test_the_app_has_one_loop(app):
    """Kafka is spoken to where chunks are processed."""
    thread = app.consumer._thread

    assert thread.thread_loop is thread.parent_loop is asyncio.get_running_loop()


def test_what_is_fetched_ahead_is_kept_by_partition():
    """A consumer has a fetcher from its start on, and that keeps what Kafka answered until it is taken."""
    assert {"_fetcher"} <= names(AIOKafkaConsumer.__init__) & names(AIOKafkaConsumer.start)
    assert {"_records"} <= names(KafkaFetcher.__init__) & names(KafkaFetcher.fetched_records)
    assert {"_fetcher", "_records"} <= names(fetched_partitions)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("getmany", ["self", "timeout"]),
        ("_wait_next_records", ["self", "timeout"]),
        ("_getmany", ["self", "active_partitions", "timeout"]),
        ("_get_active_partitions", ["self"]),
        ("seek", ["self", "partition", "offset"]),
        ("perform_seek", ["self"]),
        ("ack", ["self", "message"]),
        ("_filter_tps_with_pending_acks", ["self", "topics"]),
        ("_filter_committable_offsets", ["self", "tps"]),
        ("_should_commit", ["self", "tp", "offset"]),
        ("_new_offset", ["self", "tp"]),
        ("_add_gap", ["self", "tp", "offset_from", "offset_to"]),
        ("_commit", ["self", "offsets"]),
        ("commit", ["self", "topics", "start_new_transaction"]),
        ("maybe_wait_for_commit_to_finish", ["self"]),
        ("pause_partitions", ["self", "tps"]),
        ("on_partitions_revoked", ["self", "revoked"]),
        ("on_partitions_assigned", ["self", "assigned", "generation_id"]),
        ("highwater", ["self", "tp"]),
        ("stop_flow", ["self"]),
    ],
)
def test_what_we_override_or_call_is_there(method, expected):
    """A method of the consumer has the parameters that it had."""
    assert expected == parameters(getattr(KafkaConsumer, method))


@pytest.mark.parametrize(
    "method",
    [
        "seek",
        "perform_seek",
        "_add_gap",
        "_commit",
        "on_partitions_assigned",
        "on_partitions_revoked",
        "_wait_next_records",
    ],
)
def test_coroutines_are_coroutines(method):
    """What we override as a coroutine is awaited."""
    assert inspect.iscoroutinefunction(getattr(BaseConsumer, method))


def test_messages_are_drained_through_what_we_override():
    """The loop that feeds the agents asks `getmany`, keeps the offset it reads, and notes gaps by `_add_gap`."""
    drain = names(BaseConsumer._drain_messages)

    assert {"getmany", "_add_gap", "_read_offset", "suspend_flow", "wait_first"} <= drain


def test_one_task_fetches_and_delivers():
    """A seek is safe inside `getmany` because the same task asks for the fetch before and delivers after it."""
    source = inspect.getsource(BaseConsumer._drain_messages)

    assert source.index("getmany(timeout=1.0)") < source.index("callback(message)")
    assert source.index("callback(message)") < source.index("set_read_offset(tp, offset)")


def test_commits_go_through_what_we_override():
    """A commit asks which partitions, then for each its offset, then whether that is news."""
    assert {"_filter_tps_with_pending_acks", "_commit_tps"} <= names(BaseConsumer.force_commit)
    assert "_filter_committable_offsets" in names(BaseConsumer._commit_tps)
    assert {"_new_offset", "_should_commit"} <= names(BaseConsumer._filter_committable_offsets)


def test_every_commit_is_a_force_commit():
    """The periodic commit, the one at the end and the one after an error all take the same way."""
    assert "commit" in names(BaseConsumer._commit_handler.fun)
    assert "commit" in names(BaseConsumer.on_task_error)
    assert "commit" in names(BaseConsumer.commit_and_end_transactions)
    assert "force_commit" in names(BaseConsumer.commit)


def test_only_assigned_partitions_are_committed():
    """What was processed under an assignment that is gone is not written."""
    assert "assignment" in names(BaseConsumer._commit_offsets)


def test_a_rebalance_ends_with_a_seek():
    """Chunks that a rebalance interrupts may be dropped: delivery starts over at the committed offsets."""
    resume = inspect.getsource(Recovery._resume_streams)

    assert resume.index("perform_seek()") < resume.index("consumer.resume_flow()")
    assert "_resume_streams" in names(Recovery._restart_recovery.fun)


def test_the_flow_stops_before_partitions_are_lost():
    """While partitions are revoked nothing is delivered."""
    assert {"stop_flow", "suspend"} <= names(BaseApp._on_partitions_revoked)


@pytest.mark.parametrize("method", ["_on_partitions_revoked", "_stop_consumer"])
def test_what_is_in_flight_is_waited_for_where_nothing_is_delivered(method):
    """On a rebalance and at the end, Faust asks whether to wait after it has stopped the flow and emptied the buffers."""
    source = inspect.getsource(getattr(BaseApp, method))

    assert (
        source.index("stop_flow") < source.index("flow_control.clear") < source.index("_consumer_wait_empty")
    )


def test_the_wait_has_the_parameters_that_it_had():
    """We wait in Faust's stead, for as long as the grace allows."""
    assert ["self", "consumer", "logger"] == parameters(BaseApp._consumer_wait_empty)
    assert inspect.iscoroutinefunction(BaseApp._consumer_wait_empty)


def test_a_stop_begins_with_the_app():
    """The grace counts from `on_stop`, which comes before the consumer is stopped."""
    assert "_stop_consumer" in names(BaseApp.on_stop)


def test_a_rebalance_says_when_it_begins_and_ends():
    """`rebalancing` is true from the first notice of a rebalance until delivery starts over."""
    assert "rebalancing" in names(BaseApp.on_rebalance_start)
    assert "rebalancing" in names(BaseApp.on_rebalance_end)
    assert "on_rebalance_end" in names(Recovery._resume_streams)


def test_a_fetcher_that_has_ended_says_so():
    """Whatever ends the fetcher, also a cancellation that mode drops without a word, marks it as shut down."""
    assert "set_shutdown" in names(Fetcher._fetcher.fun)
    assert "_shutdown" in names(Service.set_shutdown)


def test_the_clients_membership_is_a_task():
    """The Kafka client keeps up its place in the group in a task of this name."""
    assert "_coordination_task" in names(GroupCoordinator.__init__)
    assert "_coordinator" in names(AIOKafkaConsumer.start)
    assert "_consumer" in names(AIOKafkaConsumerThread._ensure_consumer)


def test_partitions_that_are_paused_stay_so_until_a_rebalance():
    """A held partition is not among those that are fetched, and a new assignment begins with every one of them."""
    assert "_paused_partitions" in names(BaseConsumer._set_active_tps)
    assert "resume_partitions" in names(Recovery._resume_streams)


def test_folders_are_made_in_one_place():
    """Nothing is written to disk by what is left of Faust's start."""
    assert "_create_directories" in names(BaseApp.on_first_start)
    assert {"datadir", "appdir", "tabledir"} <= names(BaseApp._create_directories)


def test_the_generation_is_known_before_the_assignment_is():
    """The app's generation is the group's, set first of all."""
    source = inspect.getsource(ConsumerRebalanceListener.on_partitions_assigned)

    assert source.index("consumer_generation_id =") < source.index("on_partitions_assigned(ensure_TPset")


def test_old_generations_do_not_reach_the_agent():
    """The stream skips what was fetched for another generation."""
    from faust.streams import Stream  # noqa: PLC0415 - its module compiles an extension when it is imported

    assert {"generation_id", "consumer_generation_id", "is_active"} <= names(Stream._py_aiter)


async def test_the_consumer_holds_what_we_touch(app):
    """The consumer has the state that we read and write."""
    consumer = app.consumer

    assert isinstance(consumer, ChunkConsumer)
    for name in (
        "_unacked_messages",
        "_waiting_for_ack",
        "_read_offset",
        "_committed_offset",
        "_buffered_partitions",
        "flow_active",
    ):
        assert hasattr(consumer, name), name


@pytest.mark.parametrize(
    ("owner", "method", "expected"),
    [
        (QueueServiceThread, "call_thread", ["self", "fun", "args", "kwargs"]),
        (AIOKafkaConsumerThread, "_ensure_consumer", ["self"]),
        (ConsumerThread, "assignment", ["self"]),
        (ConsumerThread, "seek", ["self", "partition", "offset"]),
        (AIOKafkaConsumer, "committed", ["self", "partition"]),
        (
            Schema,
            "compile",
            ["self", "app", "on_key_decode_error", "on_value_decode_error", "default_propagate"],
        ),
        (App, "create_event", ["self", "key", "value", "headers", "message"]),
    ],
)
def test_what_we_call_elsewhere_is_there(owner, method, expected):
    """A method beside the consumer has the parameters that it had."""
    assert expected == parameters(getattr(owner, method))


def test_a_topic_decodes_by_its_schema():
    """A topic compiles its decoder from its schema, so that a chunk stays undecoded."""
    assert {"schema", "compile"} <= names(Topic._compile_decode)


def test_a_chunk_can_hold_more_than_a_message():
    """A message has slots; the kind that consumers make has room for our fields."""
    assert hasattr(Message, "__slots__")
    assert "__slots__" not in vars(ConsumerMessage)
    assert issubclass(Chunk, ConsumerMessage)


def test_a_message_is_made_as_we_make_it():
    """The positions of a message's parameters are those that we fill."""
    assert [
        "self",
        "topic",
        "partition",
        "offset",
        "timestamp",
        "timestamp_type",
        "headers",
        "key",
        "value",
        "checksum",
        "serialized_key_size",
        "serialized_value_size",
        "tp",
        "time_in",
        "time_out",
        "time_total",
        "generation_id",
    ] == parameters(Message.__init__)


def test_the_last_acknowledgement_of_a_message_is_the_consumers():
    """Letting go of a chunk ends in the `ack` that we override."""
    assert "ack" in names(ConsumerMessage.on_final_ack)
