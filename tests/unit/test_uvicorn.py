"""uvicorn's private names that the program uses. A release without one of them fails here."""

import inspect
from collections.abc import Callable
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState
from uvicorn.supervisors.multiprocess import Multiprocess, Process

CLASSES = {
    HttpToolsProtocol: (
        *("connection_made", "connection_lost", "data_received", "eof_received"),
        *("pause_writing", "resume_writing", "shutdown"),
        *("on_headers_complete", "on_body", "on_message_complete", "on_response_complete"),
        *("_start_asgi_task", "_should_upgrade", "_unset_keepalive_if_required"),
    ),
    FlowControl: ("pause_reading", "resume_reading", "pause_writing", "resume_writing"),
    Server: ("run", "serve", "shutdown", "capture_signals", "handle_exit"),
    uvicorn.Config: ("load", "bind_socket"),
    Multiprocess: ("handle_signals", "handle_hup", "keep_subprocess_alive"),
    Process: ("target", "ping", "is_alive", "start", "terminate", "kill", "join"),
}


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in CLASSES.items() for name in names]
)
def test_uvicorn_has_the_method_that_is_called_or_replaced(owner: type, name: str) -> None:
    assert callable(getattr(owner, name, None)), f"uvicorn has no {owner.__name__}.{name}"


async def application(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.fixture
async def protocol() -> HttpToolsProtocol:
    config = uvicorn.Config(application, interface="asgi3", log_config=None, lifespan="off")
    made = HttpToolsProtocol(config, ServerState(), {})
    setattr(made, "_start_asgi_task", lambda *_: None)  # noqa: B010
    return made


@pytest.mark.parametrize(
    "name",
    [
        *("connections", "cycle", "flow", "headers", "parser", "scheme", "scope", "transport"),
        *("server_state", "app_state", "config", "timeout_keep_alive_task", "timeout_keep_alive"),
        *("pipeline", "loop", "timeout_keep_alive_handler"),
    ],
)
async def test_protocol_has_the_attribute_that_is_read(
    protocol: HttpToolsProtocol, name: str
) -> None:
    assert hasattr(protocol, name), f"uvicorn's HttpToolsProtocol has no {name}"


async def test_protocol_names_the_method_of_a_request_when_its_head_is_whole(
    protocol: HttpToolsProtocol,
) -> None:
    """As long as the scope has no method, `connections.Http` waits for the rest of the head."""
    protocol.parser.feed_data(b"GET / HTTP/1.1\r\nHost: ")
    assert "method" not in protocol.scope
    assert protocol.headers == []
    protocol.parser.feed_data(b"x\r\n\r\n")
    assert protocol.scope["method"] == "GET"
    assert protocol.url == b"/"
    assert protocol.cycle is not None


FLOW = ("read_paused", "write_paused", "_is_writable_event", "_transport")


def test_flow_control_has_no_attributes_but_those_that_are_set() -> None:
    """`live/flow.py` sets them itself."""
    transport: Any = None
    assert sorted(vars(FlowControl(transport))) == sorted(FLOW)


CYCLE = (
    "body",
    "disconnected",
    "keep_alive",
    "message_event",
    "response_complete",
    "response_started",
)


@pytest.mark.parametrize("name", CYCLE)
async def test_cycle_has_the_attribute_that_is_read(protocol: HttpToolsProtocol, name: str) -> None:
    protocol.parser.feed_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert isinstance(protocol.cycle, RequestResponseCycle)
    assert hasattr(protocol.cycle, name), f"uvicorn's RequestResponseCycle has no {name}"


@pytest.mark.parametrize("name", ["connections", "tasks", "default_headers"])
def test_server_state_has_the_attribute_that_is_read(name: str) -> None:
    assert hasattr(ServerState(), name), f"uvicorn's ServerState has no {name}"


SET: dict[Callable[..., object], tuple[str, ...]] = {
    Server.__init__: ("config", "server_state", "started", "should_exit"),
    Server.startup: ("servers",),
    Multiprocess.__init__: ("config", "sockets", "processes", "signal_queue", "should_exit"),
    Process.__init__: ("process",),
}


@pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method, names in SET.items() for name in names]
)
def test_uvicorn_sets_the_attribute_that_is_read(method: Any, name: str) -> None:
    assert name in method.__code__.co_names, f"uvicorn's {method.__qualname__} sets no {name}"


def test_protocol_classes_are_called_with_four_arguments() -> None:
    names = list(inspect.signature(HttpToolsProtocol).parameters)
    assert names == ["config", "server_state", "app_state", "_loop"]


def test_status_lines_are_bytes_by_status() -> None:
    assert httptools_impl.STATUS_LINE[204] == b"HTTP/1.1 204 No Content\r\n"


async def test_proxy_middleware_names_the_client_behind_trusted_hosts() -> None:
    hosts = ProxyHeadersMiddleware(application, "127.0.0.1").trusted_hosts
    assert "127.0.0.1" in hosts
    assert "203.0.113.1" not in hosts
    assert hosts.get_trusted_client_address("203.0.113.1, 127.0.0.1")[0] == "203.0.113.1"


def test_parser_stops_at_an_upgrade_and_says_where() -> None:
    parser = httptools.HttpRequestParser(object())
    head = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as stop:
        parser.feed_data(head + b"frame")
    assert stop.value.args == (len(head),)
    assert parser.should_upgrade()
    assert (parser.get_method(), parser.get_http_version()) == (b"GET", "1.1")
