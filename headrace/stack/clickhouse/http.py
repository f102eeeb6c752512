"""The HTTP interface: requests as ClickHouse's clients write them, answers as they read them."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from headrace.stack.clickhouse.coding import CorruptBodyError, Decoder, UnknownCodingError, encode
from headrace.stack.clickhouse.engine import Answer, Engine, EngineError
from headrace.stack.clickhouse.statement import Statement
from headrace.stack.clickhouse.upload import TooLargeError, Upload

MAX_BODY = 2 * 1024**3
"""Most bytes of a body, after decompression."""

MAX_LINE = 1024**2
"""Most bytes of a request's line and of a header: parameters travel in the URL (ClickHouse: http_max_uri_size)."""

THREADS = 8
"""Statements that run at a time; more wait for their turn."""

_STATUS = {48: 501, 164: 403, 241: 507, 516: 403} | dict.fromkeys(
    (46, 47, 50, 56, 60, 63, 73, 81, 82, 83, 115), 404
) | dict.fromkeys((6, 26, 27, 36, 38, 41, 43, 53, 62, 69, 72, 117, 386, 457), 400)  # fmt: skip
"""HTTP status by error code, as ClickHouse chooses it; 500 otherwise."""


@dataclass(frozen=True, slots=True)
class Server:
    """The interface to one engine; `uploads` is a folder that nothing else writes to."""

    engine: Engine
    uploads: Path

    def application(self) -> web.Application:
        """The aiohttp application: `/` for everything, `/ping` for probes."""
        app = web.Application(client_max_size=MAX_BODY)
        app.cleanup_ctx.append(self._lifetime)
        app.router.add_get("/ping", _ping)
        app.router.add_route("*", "/", self._handle)
        return app

    async def _lifetime(self, app: web.Application) -> AsyncIterator[None]:
        self.uploads.mkdir(parents=True, exist_ok=True)
        for left in self.uploads.iterdir():  # by a process that was killed
            left.unlink()
        with ThreadPoolExecutor(THREADS, "statement") as pool:
            app[_POOL] = pool
            yield

    async def _handle(self, request: web.Request) -> web.Response:
        query_id = request.query.get("query_id") or str(uuid4())
        try:
            return await self._answer(request, query_id)
        except EngineError as error:
            return self._refusal(_STATUS.get(error.code, 500), str(error), error.code, query_id)
        except TooLargeError as error:
            return self._refusal(413, f"Code: 307. DB::Exception: {error}. (TOO_MANY_BYTES)", 307, query_id)
        except (CorruptBodyError, UnknownCodingError) as error:
            return self._refusal(400, f"Code: 354. DB::Exception: {error}. (INFLATE_FAILED)", 354, query_id)

    async def _answer(self, request: web.Request, query_id: str) -> web.Response:
        arguments = dict(request.query)
        for header, name in (
            ("X-ClickHouse-Database", "database"),
            ("X-ClickHouse-Format", "default_format"),
        ):
            if header in request.headers:
                arguments.setdefault(name, request.headers[header])
        if request.content_type == "multipart/form-data":
            arguments |= await _form(request)
        decoder = Decoder(request.headers.get("Content-Encoding", "").lower())
        query = arguments.pop("query", "").encode()
        with Upload(query, decoder, folder=self.uploads, limit=MAX_BODY) as upload:
            async for piece in request.content.iter_any():
                upload.feed(piece)
            statement = Statement.of(upload.text(), arguments)
            if not statement.text.strip():
                return web.Response(text="Ok.\n")
            if request.method == "GET":  # as ClickHouse has it: a link that is followed changes nothing
                statement = replace(statement, settings={**statement.settings, "readonly": "2"})
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(request.app[_POOL], self.engine.run, statement)
        accepted = request.headers.get("Accept-Encoding", "")
        if arguments.get("enable_http_compression") != "1":
            accepted = ""
        return self._success(answer, statement.format, query_id, accepted)

    def _success(
        self, answer: Answer, result_format: str | None, query_id: str, accepted: str
    ) -> web.Response:
        body, coding = encode(answer.body, accepted)
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Summary": _summary(answer),
            **self._headers(query_id),
        }
        if result_format or answer.body:
            headers["X-ClickHouse-Format"] = result_format or "TabSeparated"
        if coding:
            headers["Content-Encoding"] = coding
        return web.Response(body=body, headers=headers)

    def _refusal(self, status: int, message: str, code: int, query_id: str) -> web.Response:
        text = f"{message} (version {self.engine.version})\n"
        headers = {"X-ClickHouse-Exception-Code": str(code), **self._headers(query_id)}
        return web.Response(status=status, text=text, headers=headers)

    def _headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": "headrace",
            "X-ClickHouse-Timezone": self.engine.timezone,
        }


_POOL = web.AppKey("pool", ThreadPoolExecutor)


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form, which clients send when a query's parameters are too long for a URL."""
    fields = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str):
            raise EngineError(
                "Code: 48. DB::Exception: External tables are not supported. (NOT_IMPLEMENTED)", 48
            )
        fields[name] = value
    return fields


def _summary(answer: Answer) -> str:
    counts = {
        "read_rows": answer.rows_read,
        "read_bytes": answer.bytes_read,
        "written_rows": answer.rows_written,
        "written_bytes": answer.bytes_written,
        "elapsed_ns": int(answer.seconds * 1e9),
    }
    return json.dumps({name: str(count) for name, count in counts.items()})
