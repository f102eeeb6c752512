import signal
import subprocess
import sys

from headrace.stack.warden import end, followed
from tests.support.processes import lives, until

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


def test_it_knows_which_groups_live():
    """Groups that were started and have not ended are the ones to end."""
    assert followed(["+1\n", "+2\n", "-1\n", "+3\n"]) == {2, 3}


async def test_it_ends_what_does_not_want_to():
    """A group that ignores SIGTERM is killed after the grace; one that is gone already is no error."""
    process = subprocess.Popen(  # noqa: ASYNC220 - it is there before anything waits
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()

    end({process.pid, 999999999}, grace=0.1)

    await until(lambda: not lives(process.pid))
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
