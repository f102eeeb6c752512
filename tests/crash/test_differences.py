"""The suite understands what `headrace verify` says."""

import pytest

from headrace.verify.findings import Account, Kind, Origin
from headrace.verify.report import as_json
from tests.crash.crew import Failed
from tests.crash.world import differing
from tests.support.commands import Told


def _account(partition: int, *offsets: int) -> Account:
    origin = Origin(topic="raw-graph", topic_id="T", partition=partition)
    account = Account(origin=origin, first=0, last=9, limit=1)
    for offset in offsets:
        account.found(Kind.NOT_STORED, offset, "no row")
    return account


def test_a_difference_is_a_sentence():
    """Each kind of finding is one sentence, that counts those of all partitions and names one."""
    out = as_json([_account(0, 4, 5), _account(1), _account(2, 7)])

    assert ["headrace verify: 3 not stored, such as raw-graph [2] at 7: no row"] == differing(
        Told(1, out, "")
    )


def test_no_difference_is_no_sentence():
    """If the three places agree, there is nothing to say."""
    assert [] == differing(Told(0, as_json([_account(0)]), ""))


@pytest.mark.parametrize("told", [Told(2, "", "Kafka is away"), Told(1, "", "Traceback"), Told(-9, "{", "")])
def test_what_was_not_judged_is_no_verdict(told: Told):
    """A command that could not judge, or came to grief, has found nothing and excuses nothing."""
    with pytest.raises(Failed, match="headrace verify ended with"):
        differing(told)
