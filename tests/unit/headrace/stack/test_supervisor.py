import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from headrace.stack.errors import StackError
from headrace.stack.service import Service
from headrace.stack.supervisor import Supervisor
from tests.support.processes import lives, until

Supervise = Callable[..., Supervisor]

FOREVER = "import time; time.sleep(1000)"


async def _yes() -> bool:
    return True


def _service(name: str, code: str, **options: object) -> Service:
    return Service(**{"name": name, "argv": (sys.executable, "-c", code), "ready": _yes, **options})


@pytest.fixture(name="reports")
def _reports() -> list[str]:
    """What was shown to the operator."""
    return []


@pytest.fixture(name="supervise")
async def _supervise(tmp_path: Path, reports: list[str]) -> AsyncIterator[Supervise]:
    """Make a supervisor, to be stopped at the end."""
    made: list[Supervisor] = []

    def make(*services: Service) -> Supervisor:
        made.append(Supervisor(services, logs=tmp_path, report=reports.append))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


async def test_a_service_waits_for_what_it_needs(supervise: Supervise, tmp_path: Path):
    """A service is started only when the one that it needs is ready."""
    mark = tmp_path / "mark"

    async def marked() -> bool:
        return mark.exists()

    late = f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(mark)!r}).touch(); time.sleep(1000)"
    seen = f"import pathlib; assert pathlib.Path({str(mark)!r}).exists(); {FOREVER}"
    supervisor = supervise(_service("first", late, ready=marked), _service("second", seen, needs=("first",)))

    await supervisor.start()

    assert lives(supervisor.pid("second"))


async def test_a_crash_is_reported_and_repaired(supervise: Supervise, reports: list[str]):
    """A service that is killed comes back as another process; the report has the signal and the end of its log."""
    supervisor = supervise(_service("mill", f"print('last words', flush=True); {FOREVER}", ready=_yes))
    await supervisor.start()
    before = supervisor.pid("mill")
    await until(lambda: any(log.read_text() for log in supervisor._posts["mill"].log.parent.glob("mill.log")))

    os.kill(before, signal.SIGKILL)
    after = await supervisor.restarted("mill", after_pid=before)

    assert lives(after)
    assert f"mill (pid {before}) was killed by SIGKILL" in "\n".join(reports)
    assert "    last words" in "\n".join(reports)


async def test_a_service_that_keeps_crashing_ends_the_stack(
    supervise: Supervise, monkeypatch: pytest.MonkeyPatch
):
    """Five crashes within a minute are the end, explained with the exit code and the end of the log."""
    monkeypatch.setattr("headrace.stack.supervisor.BACKOFF", (0.01, 0.01))
    supervisor = supervise(
        _service("mill", "import time; time.sleep(0.1); print('no water'); raise SystemExit(3)")
    )
    await supervisor.start()

    with pytest.raises(StackError) as caught:
        await supervisor.wait()

    assert "exited with code 3" in str(caught.value)
    assert "    no water" in str(caught.value)
    assert "crashed 5 times within a minute" in str(caught.value)


async def test_a_service_that_never_starts_is_an_error(supervise: Supervise):
    """A service that ends before it is ready fails the start, and what was started is stopped."""

    async def never() -> bool:
        return False

    supervisor = supervise(
        _service("first", FOREVER),
        _service("second", "raise SystemExit('no river')", ready=never, needs=("first",)),
    )

    with pytest.raises(StackError, match=r"second did not become ready \(exited with code 1\)[^$]*no river"):
        await supervisor.start()

    with pytest.raises(StackError, match="first is not running"):
        supervisor.pid("first")


async def test_a_service_that_is_never_ready_is_an_error(supervise: Supervise):
    """A service that lives but is not ready in time fails the start."""

    async def never() -> bool:
        return False

    supervisor = supervise(_service("mill", FOREVER, ready=never, ready_within=0.2))

    with pytest.raises(StackError, match="mill did not become ready"):
        await supervisor.start()


async def test_stopping_leaves_no_process(supervise: Supervise, tmp_path: Path):
    """Stopping ends also a process that does not want to, and what it had started itself."""
    stubborn = (
        "import pathlib, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}]);"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid)); time.sleep(1000)"
    )
    supervisor = supervise(_service("mill", stubborn, stop_within=0.2))
    await supervisor.start()
    await until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    pids = [supervisor.pid("mill"), int((tmp_path / "child").read_text())]

    await supervisor.stop()

    await until(lambda: not any(map(lives, pids)))


async def test_services_stop_in_reverse(supervise: Supervise, tmp_path: Path):
    """The service that was started last is stopped first."""
    order = tmp_path / "order"

    def writes(name: str) -> str:
        return (
            "import pathlib, signal, sys, time\n"
            f"def end(*_):\n  open({str(order)!r}, 'a').write('{name} '); sys.exit()\n"
            f"signal.signal(signal.SIGTERM, end); pathlib.Path({str(tmp_path / name)!r}).touch(); time.sleep(1000)"
        )

    def touched(name: str) -> Callable[[], Awaitable[bool]]:
        async def ready() -> bool:
            return (tmp_path / name).exists()

        return ready

    supervisor = supervise(*(_service(name, writes(name), ready=touched(name)) for name in ("a", "b", "c")))
    await supervisor.start()

    await supervisor.stop()

    assert order.read_text() == "c b a "


async def test_stopping_is_harmless_at_any_time(supervise: Supervise):
    """Stopping before starting, and twice, does nothing."""
    supervisor = supervise(_service("mill", FOREVER))

    await supervisor.stop()
    await supervisor.start()
    await supervisor.stop()
    await supervisor.stop()


async def test_a_killed_supervisor_leaves_no_process(tmp_path: Path):
    """When the supervisor itself is killed with SIGKILL, its services end, and theirs."""
    child = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}]);"
        "print(child.pid, flush=True); child.wait()"
    )
    program = f"""
import asyncio, os, sys
from pathlib import Path
from headrace.stack.service import Service
from headrace.stack.supervisor import Supervisor
log = Path({str(tmp_path)!r}) / "mill.log"
async def ready(): return log.exists() and log.read_text().endswith("\\n")
async def main():
    argv = (sys.executable, "-c", {child!r})
    supervisor = Supervisor([Service(name="mill", argv=argv, ready=ready)], logs=log.parent, report=print)
    await supervisor.start()
    print(os.getpid(), supervisor.pid("mill"), log.read_text(), flush=True)
    await supervisor.wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert all(map(lives, pids))

    process.kill()
    await process.wait()

    await until(lambda: not any(map(lives, pids)))
