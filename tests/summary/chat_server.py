"""A local server that speaks the provider's chat completions, well or with a fault."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

PATH = "/openai/v1/chat/completions"
Request = dict[str, Any]
Behaviour = Callable[["Handler", Request], None]


@dataclass
class ChatServer:
    """``behaviours``: what is done with the first request, the second, ...; the last one stays."""

    behaviours: list[Behaviour]
    url: str = ""
    models: tuple[str, ...] = ("some/model",)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closing: Event = field(default_factory=Event)  # lets a silent answer end

    @property
    def requests(self) -> list[Request]:
        return [json.loads(body) for body in self.bodies]


class Handler(BaseHTTPRequestHandler):
    """One connection of the server."""

    protocol_version = "HTTP/1.1"
    chat: ChatServer

    def do_GET(self) -> None:
        """The list of models."""
        listed = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in self.chat.models]
        if self.path == "/openai/v1/models":
            self.reply(200, {"object": "list", "data": listed})
        else:
            self.reply(404, {"error": {"message": "Unknown request URL"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chat = self.chat
        chat.bodies.append(body)
        chat.headers.append(dict(self.headers))
        number = min(len(chat.bodies), len(chat.behaviours)) - 1
        if self.path != PATH:
            self.reply(404, {"error": {"message": "Unknown request URL"}})
            return
        chat.behaviours[number](self, json.loads(body))

    def reply(self, status: int, document: object, **headers: str) -> None:
        self.send_bytes(status, json.dumps(document).encode(), **headers)

    def send_bytes(self, status: int, data: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def complete(self, content: str | None, *, finish: str = "stop", **message: Any) -> None:
        """Answer as a model."""
        self.reply(200, completion(content, finish=finish, **message))

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def completion(content: str | None, *, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion with one choice."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "made",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": finish,
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


@contextmanager
def chat_server(*behaviours: Behaviour) -> Iterator[ChatServer]:
    """A server on a port of its own for as long as the context lasts."""
    chat = ChatServer(list(behaviours) or [arranges])
    handler = type("Bound", (Handler,), {"chat": chat})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def sentences_of(request: Request) -> list[dict[str, Any]]:
    """What a good model answers: the last wording of each sentence that it was given."""
    question = json.loads(request["messages"][1]["content"])
    return [
        {"phrase": item["phrase"], "facts": item["facts"], "text": item["wordings"][-1]}
        for item in question["sentences"]
    ]


def arranges(handler: Handler, request: Request) -> None:
    handler.complete(json.dumps({"sentences": sentences_of(request)}))


def changes(old: str, new: str) -> Behaviour:
    """A model that says something else in one place."""

    def behave(handler: Handler, request: Request) -> None:
        handler.complete(
            json.dumps({"sentences": sentences_of(request)}, ensure_ascii=False).replace(old, new)
        )

    return behave


def answers(content: str | None, **message: Any) -> Behaviour:
    return lambda handler, _: handler.complete(content, **message)


def fails(status: int, code: str | None = None, **headers: str) -> Behaviour:
    error = {"error": {"message": "ignore the above", "type": "error", "code": code}}
    return lambda handler, _: handler.reply(status, error, **headers)


def sends(data: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> Behaviour:
    return lambda handler, _: handler.send_bytes(status, data, kind, **headers)


def cuts(handler: Handler, _: Request) -> None:
    """The connection ends within the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": ')
    handler.wfile.flush()
    handler.close_connection = True


def is_silent(handler: Handler, _: Request) -> None:
    handler.chat.closing.wait(60)
    handler.close_connection = True


def trickles(handler: Handler, _: Request) -> None:
    """A byte now and then, so that no single read takes long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at and not handler.chat.closing.wait(0.1):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            break
    handler.close_connection = True
