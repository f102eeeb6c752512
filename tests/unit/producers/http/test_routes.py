"""Paths are found, and taken apart, as aiohttp's own routes would."""

from collections.abc import Mapping

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.http.application import DIALECTS
from producers.http.routes import Route

PATHS = [path for dialect in DIALECTS for path in dialect.paths]
ROUTES = [Route(dialect) for dialect in DIALECTS]
SEGMENTS = st.one_of(
    st.sampled_from(sorted({segment for path in PATHS for segment in path.split("/")[1:]})),
    st.text(st.sampled_from("aZ0~-._{}é %2f%2F%25%7B%00"), max_size=8),
)


def found(path: str) -> Mapping[str, str] | None:
    """What ours says."""
    for route in ROUTES:
        if route.is_for(path):
            try:
                return route.parameters(path)
            except web.HTTPNotFound:
                return None
    return None


@settings(deadline=None)
@given(
    # Unlike a server, `make_mocked_request` takes what stands behind two slashes for a host.
    st.lists(SEGMENTS, max_size=6)
    .map(lambda segments: "/" + "/".join(segments))
    .filter(lambda target: not target.startswith("//"))
)
@example("/digitaltwins/my%20Twin%2F1%C3%A9/telemetry")
@example("/digitaltwins/a%252Fb/components/c%25d/telemetry")
@example("/digital%74wins/a/telemetry")
@example("/api/v1/token/telemetry/")
async def test_a_path_means_what_it_means_to_aiohttp(target: str):
    """The same parameters, or none."""
    router = web.UrlDispatcher()
    for path in PATHS:
        router.add_post(path, _nothing)
    request = make_mocked_request("POST", target)
    match = await router.resolve(request)
    theirs = dict(match) if match.http_exception is None else None
    assert found(request.rel_url.path_safe) == theirs


async def _nothing(_: web.Request) -> web.Response:
    return web.Response()
