"""STOW-RS and QIDO-RS (PS3.18 10.5 and 10.6). Objects go as the bytes that were written.

An HTTP status tells how the request went, the response's sequences what became of the object. Success by the
status alone is believed where a query finds the object.
"""

import json
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from db.deliveries import DueDelivery
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import Destination
from neurotriage.core.states import DeliveryState
from neurotriage.dicom.commitment import CommitmentReport
from worker.delivery.client import (
    Misconfigured,
    NotServed,
    Unanswered,
    by_series,
    comment,
    matched,
    result_file,
)
from worker.delivery.status import ALREADY_EXISTS, PROCESSING_FAILURES, StoreResult, is_warning, verdict_of
from worker.delivery.tls import client_context

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
# A whole request with its answer, however slowly the peer reads and writes.
_REQUEST_LIMIT_S: Final = 120.0
_ANSWER_LIMIT_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 16
_QUERY_LIMIT: Final = 5000  # instances of one of our series; far above what there can be
_JSON: Final = "application/dicom+json"

# Attributes of the response (PS3.18 table I.1-1) and of the query's answer, as DICOM JSON names them.
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_REFERENCED_INSTANCE: Final = "00081155"
_FAILURE_REASON: Final = "00081197"
_WARNING_REASON: Final = "00081196"
_SOP_INSTANCE: Final = "00080018"
_SERIES: Final = "0020000E"

_ERROR_COMMENT: Final = "00000902"

_PROCESSING_FAILURE: Final = 0x0110
_DUPLICATE: Final = 0x0111
# 45071 of Microsoft's DICOM service: "the DICOM instance is being created", by us before, or for ever.
_BEING_CREATED: Final = 0xB00F
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_NOT_IMPLEMENTED: Final = 501
_PASSING: Final = (408, 425, 429)
# What a person has to correct, here or there.
_BARRED: Final = {
    401: "the token is missing or was not accepted",
    403: "the token does not allow this",
    404: "there is no such service; check the url",
    407: "a proxy wants to know who we are",
}
Answer = list[dict[str, Any]]  # data sets as DICOM JSON


@contextmanager
def connect(
    destination: Destination, calling_ae_title: str, sop_classes: Iterable[str]
) -> Iterator["WebPeer"]:
    """A client of one DICOMweb service; nothing is sent yet. Raises ``Misconfigured`` with a sentence."""
    headers = {"Accept": _JSON, "User-Agent": f"neurotriage ({calling_ae_title})"}
    if destination.token_file is not None:
        headers["Authorization"] = f"Bearer {_token(destination.token_file)}"
    verify = ssl.create_default_context() if destination.tls is None else client_context(destination.tls)
    # A redirect would take results, and the token, to where nobody configured them to go.
    with httpx.Client(headers=headers, verify=verify, timeout=_TIMEOUT, follow_redirects=False) as client:
        yield WebPeer(client, destination)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"token_file cannot be read: {error.__class__.__name__}") from error
    if not token.isprintable() or not token:
        raise Misconfigured("token_file does not hold a token")
    return token


class _Silent(Unavailable):
    """A request was taken and not answered in time."""


class WebPeer:
    """A DICOMweb service, asked for one study."""

    def __init__(self, client: httpx.Client, destination: Destination) -> None:
        self._client = client
        self._destination = destination
        self._url = destination.url.rstrip("/")

    def store(self, path: Path, delivery: DueDelivery) -> StoreResult:
        """Send one object by STOW-RS."""
        try:
            result_file(path, delivery.size_bytes)
            data = path.read_bytes()
        except Refused as damaged:
            return StoreResult(DeliveryState.REFUSED, str(damaged))
        except OSError as error:  # the storage may come back
            return StoreResult(DeliveryState.WAITING, f"the result file cannot be read: {error.strerror}")
        boundary = uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join((head, data, f"\r\n--{boundary}--\r\n".encode()))
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(body)),
        }
        url = f"{self._url}/studies/{delivery.study_instance_uid}"
        status, answer = self._request("POST", url, headers=headers, body=body)
        return stow_verdict(status, answer, delivery.sop_instance_uid)

    @property
    def commits(self) -> bool:
        """The web has a commitment service of its own (PS3.18 13), which hardly any archive offers."""
        return False

    def commit(self, transaction_uid: str, objects: Sequence[DueDelivery]) -> CommitmentReport | None:
        raise Unavailable("DICOMweb destinations are not asked for storage commitment")

    @property
    def ae_title(self) -> str:
        return ""

    @property
    def ended(self) -> bool:
        return False

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """Look for objects by QIDO-RS, one query per series."""
        level = self._destination.find
        if level == "off":
            raise NotServed("no query is asked for")
        found: set[str] = set()
        for study_uid, series_uid, uids in by_series(objects):
            url = f"{self._url}/studies/{study_uid}/series"
            url += f"/{series_uid}/instances?" if level == "image" else f"?SeriesInstanceUID={series_uid}&"
            answers = self._query(f"{url}limit={_QUERY_LIMIT}")
            pairs = [(_text(item, _SERIES), _text(item, _SOP_INSTANCE)) for item in answers]
            found |= matched(level, series_uid, uids, pairs)
        return frozenset(found)

    def _query(self, url: str) -> Answer:
        """What matches. Raises as ``present`` does."""
        try:
            status, answer = self._request("GET", url)
            if status == _NOT_FOUND:  # what was asked for, or the service
                status, _ = self._request("GET", f"{self._url}/studies?limit=1")
                answer = []
        except _Silent as silent:
            raise Unanswered("the query was not answered in time") from silent
        if status in (200, 204):
            return answer
        if status >= 500 and status != _NOT_IMPLEMENTED:
            raise Unavailable(f"the query was answered with HTTP status {status}")
        if status in _BARRED and status != _NOT_FOUND:
            raise Misconfigured(f"the query was answered with HTTP status {status}: {_BARRED[status]}")
        raise NotServed(f"the query was answered with HTTP status {status}")

    def _request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, Answer]:
        """HTTP status and data sets (none where the answer is not DICOM JSON). Raises ``Unavailable``."""
        end = time.monotonic() + _REQUEST_LIMIT_S
        try:
            with self._client.stream(
                method, url, headers=headers, content=_chunks(body, end) if body else None
            ) as response:
                return response.status_code, _data_sets(_read(response, end))
        except httpx.HTTPError as error:
            if isinstance(error.__cause__, ssl.SSLError) or "certificate" in str(error).lower():
                raise Misconfigured(
                    f"{self._url} cannot be trusted, or does not trust us: {error}"
                ) from error
            why = str(error) or type(error).__name__
            kind = _Silent if isinstance(error, httpx.ReadTimeout) else Unavailable
            raise kind(f"{self._url} does not answer: {why}") from error


def _chunks(body: bytes, end: float) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK_BYTES):
        if time.monotonic() > end:
            raise httpx.WriteTimeout("it takes too long to read")
        yield body[start : start + _CHUNK_BYTES]


def _read(response: httpx.Response, end: float) -> bytes:
    data = b""
    for part in response.iter_bytes():
        data += part
        if time.monotonic() > end:
            raise httpx.ReadTimeout("it takes too long to answer")
        if len(data) > _ANSWER_LIMIT_BYTES:
            raise httpx.ReadError("its answer has no end")
    return data


def _data_sets(data: bytes) -> Answer:
    """DICOM JSON (PS3.18 annex F): a data set or a list of them."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return []
    items = found if isinstance(found, list) else [found]
    return [item for item in items if isinstance(item, dict)]


def _values(item: Mapping[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(item: Mapping[str, Any], tag: str) -> str:
    return str(next(iter(_values(item, tag)), ""))


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    value = next(iter(_values(item, tag)), None)
    return value if isinstance(value, int) else None


def _named(answer: Answer, sequence: str, uid: str) -> Mapping[str, Any] | None:
    """The item of a sequence that is about an object."""
    items = (item for data_set in answer for item in _values(data_set, sequence) if isinstance(item, dict))
    return next((item for item in items if _text(item, _REFERENCED_INSTANCE) == uid), None)


def stow_verdict(status: int, answer: Answer, uid: str) -> StoreResult:
    """What the response to a store says of one object (PS3.18 10.5.3 and annex I)."""
    stored = _named(answer, _REFERENCED, uid)
    failed = _named(answer, _FAILED, uid)
    if failed is not None:
        verdict = _failed(_number(failed, _FAILURE_REASON) or _PROCESSING_FAILURE)
        return replace(verdict, comment=comment(_text(failed, _ERROR_COMMENT)))
    if stored is not None:
        warning = _number(stored, _WARNING_REASON)
        return verdict_of(0) if warning is None else _warned(warning)
    if 200 <= status < 300:
        text = f"HTTP status {status}, but the answer does not name the object"
        return _doubtful(text)
    if status in _BARRED or 300 <= status < 400:
        text = _BARRED.get(status, "it points elsewhere")
        return StoreResult(DeliveryState.WAITING, f"HTTP status {status}: {text}", alarm=True)
    if status in _PASSING or status >= 500:
        return StoreResult(DeliveryState.WAITING, f"the destination reports a failure (HTTP status {status})")
    # A conflict may be with this very object.
    return StoreResult(DeliveryState.REFUSED, f"refused: HTTP status {status}", doubtful=status == _CONFLICT)


def _failed(reason: int) -> StoreResult:
    """A FailureReason. That the object is there is no failure to us; a warning is none of its reasons."""
    if reason in (_DUPLICATE, ALREADY_EXISTS):
        return verdict_of(reason)
    if reason == _BEING_CREATED:
        return _doubtful(f"the destination says that it is being stored (0x{reason:04X})")
    if is_warning(reason):
        return _doubtful(f"the destination names it as failed, with a warning (0x{reason:04X})")
    return verdict_of(reason)


def _doubtful(text: str) -> StoreResult:
    """Stored, if a query finds it. Where none can be made, another try, a few times."""
    return StoreResult(DeliveryState.STORED, text, most_failures=PROCESSING_FAILURES, doubtful=True)


def _warned(reason: int) -> StoreResult:
    verdict = verdict_of(reason)
    if verdict.state is DeliveryState.STORED:
        return verdict
    return StoreResult(DeliveryState.STORED, f"stored with a warning (0x{reason:04X})")
