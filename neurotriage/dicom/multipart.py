"""multipart/related (RFC 2046 5.1, RFC 2387), read as it comes: STOW-RS requests and WADO-RS answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto
from typing import Final

_HEADER_LIMIT_BYTES: Final = 1 << 13  # of one part
_PREAMBLE_LIMIT_BYTES: Final = 1 << 16
# RFC 2046 5.1.1 allows 70; Orthanc's DICOMweb plugin sends 73.
_BOUNDARY_LIMIT: Final = 256
_PADDING_LIMIT_BYTES: Final = 256


class Malformed(Exception):
    """The bytes are no multipart message."""


@dataclass(frozen=True, slots=True)
class PartBegin:
    """The headers of a part, by their names in small letters."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of a part."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """A part has come to its end."""


Event = PartBegin | PartData | PartEnd


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


@dataclass(frozen=True, slots=True)
class ContentType:
    """A media type and its parameters, by their names in small letters."""

    media_type: str
    parameters: Mapping[str, str]


def content_type(value: str) -> ContentType:
    """Parse a Content-Type (RFC 9110 8.3); the media type is empty where there is none."""
    message = Message()
    message["content-type"] = value.replace("\r", " ").replace("\n", " ")
    (media_type, _), *parameters = message.get_params([("", "")], unquote=True) or [("", "")]
    return ContentType(media_type.lower(), {name.lower(): str(text) for name, text in parameters})


def boundary_of(media: ContentType) -> bytes:
    """The boundary of multipart/related. Raises ``Malformed``."""
    boundary = media.parameters.get("boundary", "")
    if media.media_type != "multipart/related" or not 0 < len(boundary) <= _BOUNDARY_LIMIT:
        raise Malformed(f"no multipart/related with a boundary of 1 to {_BOUNDARY_LIMIT} characters")
    if not boundary.isascii() or not boundary.isprintable():
        raise Malformed("the boundary is not ASCII")
    return boundary.encode("ascii")


class MultipartReader:
    """Takes a message in pieces of any size; keeps no more than a delimiter's length of a part's data."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning
        self._state = _State.PREAMBLE

    @property
    def complete(self) -> bool:
        """Whether the closing delimiter has come."""
        return self._state is _State.EPILOGUE

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Event]:
        """The events of the next bytes; iterate to the end. Raises ``Malformed``."""
        if self.complete:
            return
        self._buffer += data
        while True:
            before = self._state, len(self._buffer)
            yield from self._step()
            if self.complete or before == (self._state, len(self._buffer)):
                return

    def _step(self) -> Iterator[Event]:
        match self._state:
            case _State.PREAMBLE:
                self._skip_preamble()
            case _State.DELIMITER:
                self._after_delimiter()
            case _State.HEADERS:
                yield from self._read_headers()
            case _State.BODY:
                yield from self._read_body()
            case _State.EPILOGUE:
                return

    def _skip_preamble(self) -> None:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            self._drop(at + len(self._delimiter), _State.DELIMITER)
        elif len(self._buffer) > _PREAMBLE_LIMIT_BYTES:
            raise Malformed("no part begins where the message does")

    def _after_delimiter(self) -> None:
        """``--`` closes the message; else blanks may stand before the end of the line."""
        if self._buffer.startswith(b"--"):
            self._drop(len(self._buffer), _State.EPILOGUE)
            return
        end = self._buffer.find(b"\r\n")
        padding = self._buffer[: end if end >= 0 else len(self._buffer)].rstrip(b"\r-" if end < 0 else b"")
        if padding.strip(b" \t") or len(padding) > _PADDING_LIMIT_BYTES:
            raise Malformed("a delimiter is followed by other text")
        if end >= 0:
            # The line's end stays: headers may be absent, and an empty line then follows at once.
            self._drop(end, _State.HEADERS)

    def _read_headers(self) -> Iterator[Event]:
        end = self._buffer.find(b"\r\n\r\n", 0, _HEADER_LIMIT_BYTES + 4)
        if end < 0:
            if len(self._buffer) > _HEADER_LIMIT_BYTES:
                raise Malformed(f"the headers of a part are longer than {_HEADER_LIMIT_BYTES} bytes")
            return
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        # The empty line's end stays, too: a delimiter that follows at once begins with it.
        self._drop(end + 2, _State.BODY)
        self._begun = False
        yield PartBegin(headers)

    def _read_body(self) -> Iterator[Event]:
        if not self._begun:
            if len(self._buffer) < len(self._delimiter):
                return
            self._begun = True
            if not self._buffer.startswith(self._delimiter):
                del self._buffer[:2]
        at = self._buffer.find(self._delimiter)
        size = at if at >= 0 else len(self._buffer) - len(self._delimiter) + 1
        if size > 0:
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            yield PartData(data)
        if at >= 0:
            self._drop(len(self._delimiter), _State.DELIMITER)
            yield PartEnd()

    def _drop(self, size: int, state: _State) -> None:
        del self._buffer[:size]
        self._state = state
