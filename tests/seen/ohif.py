"""OHIF as a hospital would serve it: one origin for the application and for the archive's DICOMweb."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from neurotriage.embedded.process import LOOPBACK

_ARCHIVE_TIMEOUT_S: Final = 120
# Headers that belong to one connection (RFC 9110 7.6.1), or that are written anew.
_NOT_PASSED_ON: Final = {"connection", "keep-alive", "transfer-encoding", "host", "accept-encoding"}
_REWRITTEN: Final = {*_NOT_PASSED_ON, "content-length"}

# Without "pdf" in singlepart: Orthanc 1.10 answers a rendered PDF with 400, its bulk data is shown.
_CONFIGURATION: Final = b"""window.config = {
  name: 'seen',
  routerBasename: null,
  extensions: [],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'archive',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'archive',
    configuration: {
      friendlyName: 'Archive',
      name: 'archive',
      qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web',
      qidoSupportsIncludeField: false,
      imageRendering: 'wadors',
      thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true,
      supportsFuzzyMatching: false,
      supportsWildcard: true,
      singlepart: 'bulkdata,video',
      bulkDataURI: { enabled: true },
      omitQuotationForMultipartRequest: true,
    },
  }],
};
"""


class _Handler(SimpleHTTPRequestHandler):
    """Files of the application, its own routes, and everything below /dicom-web from the archive."""

    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012 (as the base class has it)
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *request: Any, archive_port: int, directory: str) -> None:
        self._archive_port = archive_port
        super().__init__(*request, directory=directory)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/dicom-web/"):
            self._ask_archive()
        elif path == "/app-config.js":
            self._answer(200, [("Content-Type", "text/javascript")], _CONFIGURATION)
        else:
            if "." not in path:  # a route of the application, not a file
                self.path = "/index.html"
            super().do_GET()

    def do_POST(self) -> None:
        self._ask_archive()

    def end_headers(self) -> None:
        # Cross-origin isolation gives the application shared memory, which its volumes want.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *words: object) -> None:
        """Nothing: the browser tells which request failed."""

    def _ask_archive(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        # From this the archive makes the addresses in its answers.
        headers["Forwarded"] = f"for={LOOPBACK};host={self.headers['Host']};proto=http"
        archive = http.client.HTTPConnection(LOOPBACK, self._archive_port, timeout=_ARCHIVE_TIMEOUT_S)
        try:
            archive.request(self.command, self.path, body or None, headers)
            answer = archive.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _REWRITTEN]
            self._answer(answer.status, kept, answer.read())
        except OSError as error:
            self._answer(502, [("Content-Type", "text/plain")], str(error).encode())
        finally:
            archive.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that leaves a page drops what it had asked for."""


@contextmanager
def served(application: Path, archive_port: int) -> Iterator[str]:
    """The address of OHIF in front of the archive at ``archive_port``."""
    handler = partial(_Handler, archive_port=archive_port, directory=str(application))
    with _Server((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}"
        finally:
            server.shutdown()
