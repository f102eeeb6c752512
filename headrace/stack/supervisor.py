"""Starts processes in the order of their needs, restarts those that crash, stops all in reverse, and leaves none behind."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from headrace.stack import warden
from headrace.stack.errors import StackError
from headrace.stack.service import Running, Service, rotate, tail

CRASHES = 5
"""Crashes of one service within `WINDOW` that end the stack: something is wrong that a restart does not cure."""

WINDOW = 60.0
"""Seconds."""

BACKOFF = (0.1, 5.0)
"""Seconds between a crash and the restart: after the first crash of a window, and at most."""


class _Post:
    """A service at its post: the process that does it now, and how often one has crashed of late."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.running: Running | None = None
        self.ready = False
        self.crashes: deque[float] = deque()

    def crashed(self, now: float) -> int:
        """Count a crash; return how many there were within the window."""
        self.crashes.append(now)
        while self.crashes[0] < now - WINDOW:
            self.crashes.popleft()
        return len(self.crashes)


class Supervisor:
    """Keeps services running between `start` and `stop`. Stopping twice, or before starting, is harmless."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        logs: Path,
        report: Callable[[str], None],
        lock: int | None = None,
    ) -> None:
        """Take services, each behind those that it needs; `lock` is a descriptor that lives as long as any of them."""
        self._posts = {service.name: _Post(service, logs / f"{service.name}.log") for service in services}
        self._report = report
        self._lock = lock
        self._warden: asyncio.subprocess.Process | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._change = asyncio.Event()

    async def start(self) -> None:
        """Start every service, each as soon as those that it needs are ready; return when all are.

        Raises:
            StackError: a service ended, or was not ready in time; all are stopped then.

        """
        starts: list[asyncio.Task[None]] = []
        try:
            await self._start_warden()
            starts += [asyncio.create_task(self._start_first(post)) for post in self._posts.values()]
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop every service, the last one first; return when no process is left."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for post in reversed(self._posts.values()):
            await self._end(post)
        if self._warden is not None and self._warden.stdin is not None:
            self._warden.stdin.close()
            await self._warden.wait()

    def pid(self, name: str) -> int:
        """The process id of a service, as of now."""
        running = self._posts[name].running
        if running is None:
            raise StackError(f"{name} is not running")
        return running.pid

    async def restarted(self, name: str, *, after_pid: int, within: float = 60) -> int:
        """Wait until a service is ready in another process than the one given; return its process id.

        Raises:
            TimeoutError: it was not, within these seconds.
            StackError: the stack has ended.

        """
        post = self._posts[name]
        async with asyncio.timeout(within):
            await self._until(lambda: post.ready and self.pid(name) != after_pid)
        return self.pid(name)

    async def wait(self) -> None:
        """Wait until the stack has ended by itself, and raise why.

        Raises:
            StackError: a service crashed too often.

        """
        await self._until(lambda: False)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._failure is not None:
                raise self._failure
            await self._change.wait()

    async def _needs_ready(self, post: _Post) -> None:
        """Wait for the services that this one needs; those that are not ours are the caller's to see to."""
        needed = [self._posts[name] for name in post.service.needs if name in self._posts]
        await self._until(lambda: all(need.ready for need in needed))

    def _announce(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _start_warden(self) -> None:
        inherited = () if self._lock is None else (self._lock,)
        self._warden = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", warden.__file__,
            stdin=asyncio.subprocess.PIPE, start_new_session=True, pass_fds=inherited,
        )  # fmt: skip

    async def _tell_warden(self, sign: str, group: int) -> None:
        if self._warden is not None and self._warden.stdin is not None:
            with suppress(ConnectionError):
                self._warden.stdin.write(f"{sign}{group}\n".encode())
                await self._warden.stdin.drain()

    async def _start_first(self, post: _Post) -> None:
        await self._needs_ready(post)
        await post.service.prepare()
        rotate(post.log)
        await self._launch(post)
        if not post.ready:
            how = "" if post.running is None else f" ({await post.running.ended()})"
            end = f"The end of {post.log}:\n{tail(post.log)}"
            raise StackError(f"{post.service.name} did not become ready{how}. {end}")
        self._keep(post)

    async def _launch(self, post: _Post) -> None:
        """Start a process, and wait until it is ready or has ended; one that does neither in time is ended."""
        post.running = running = await Running.start(post.service, post.log)
        await self._tell_warden("+", running.pid)
        try:
            post.ready = await running.ready()
        except TimeoutError:
            self._report(f"{post.service.name} was not ready within {post.service.ready_within:g} s")
            await running.stop()
        self._announce()

    async def _end(self, post: _Post) -> None:
        post.ready = False
        if post.running is not None:
            await post.running.stop()
            await self._tell_warden("-", post.running.pid)
            post.running = None

    def _keep(self, post: _Post) -> None:
        keeper = asyncio.create_task(self._restart_forever(post), name=f"keep {post.service.name}")
        keeper.add_done_callback(self._note_end)
        self._keepers.append(keeper)

    def _note_end(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._failure = error
            self._announce()

    async def _restart_forever(self, post: _Post) -> None:
        while post.running is not None:
            pid, how = post.running.pid, await post.running.ended()
            await self._end(post)
            count = post.crashed(asyncio.get_running_loop().time())
            report = f"{post.service.name} (pid {pid}) {how}. The end of {post.log}:\n{tail(post.log)}"
            if count >= CRASHES:
                raise StackError(f"{report}\n{post.service.name} crashed {count} times within a minute")
            self._report(f"{report}\nRestarting {post.service.name}")
            await asyncio.sleep(min(BACKOFF[1], BACKOFF[0] * 4 ** (count - 1)))
            await self._needs_ready(post)
            await self._launch(post)
            if post.ready:
                self._report(f"{post.service.name} is back (pid {post.running.pid})")
