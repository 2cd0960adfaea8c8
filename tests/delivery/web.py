"""A DICOMweb service that does as it is told."""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread

Reply = tuple[int, Any]  # HTTP status, and what becomes JSON (bytes go as they are)


def stored(uid: str, **more: int) -> dict[str, Any]:
    """The answer that names an object as stored."""
    return _sequence("00081199", uid, more)


def failed(uid: str, reason: int) -> dict[str, Any]:
    return _sequence("00081198", uid, {"00081197": reason})


def _sequence(tag: str, uid: str, numbers: dict[str, int]) -> dict[str, Any]:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    item |= {key: {"vr": "US", "Value": [number]} for key, number in numbers.items()}
    return {tag: {"vr": "SQ", "Value": [item]}}


def found(*uids: str) -> list[dict[str, Any]]:
    return [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids]


class Service:
    """``on_store`` gets the SOP Instance UID and the part's bytes, ``on_query`` the path."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.parts: list[bytes] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.on_store: Callable[[str], Reply] = lambda uid: (200, stored(uid))
        self.on_query: Callable[[str], Reply] = lambda _: (200, found(*self.uids))
        self.uids: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.note(self)
                boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
                (part,) = body.split(b"--" + boundary)[1:-1]
                content = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                service.parts.append(content)
                uid = service.uid_of(content)
                self._reply(service.on_store(uid))

            def do_GET(self) -> None:
                service.note(self)
                self._reply(service.on_query(self.path))

            def _reply(self, reply: Reply) -> None:
                status, told = reply
                data = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if 300 <= status < 400:
                    self.send_header("Location", service.url)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/dicom-web"

    def note(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.command, handler.path, dict(handler.headers)))

    def uid_of(self, content: bytes) -> str:
        uid = str(dcmread(BytesIO(content)).SOPInstanceUID)
        self.uids.append(uid)
        return uid

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
