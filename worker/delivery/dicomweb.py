"""STOW-RS and QIDO-RS (PS3.18 10.5 and 10.6). Objects go as the bytes that were written.

The HTTP status is about the request, the sequences in the response about the object. Where only the status
reports success, a query for the object decides.
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

from db.delivery.deliveries import DueDelivery
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
from worker.delivery.status import ALREADY_EXISTS, PROCESSING_FAILURES, StoreResult, is_warning, store_result
from worker.delivery.tls import client_context

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
# A whole request with its response, however slowly the peer reads and writes.
_REQUEST_LIMIT_S: Final = 120.0
_ANSWER_LIMIT_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 16
_QUERY_LIMIT: Final = 5000  # instances of one of our series; far above what there can be
_JSON: Final = "application/dicom+json"

# Attributes of a store response (PS3.18 table I.1-1) and of a query result, by their names in DICOM JSON.
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
# 45071 of Microsoft's DICOM service: "the DICOM instance is being created": by an earlier try, or never.
_BEING_CREATED: Final = 0xB00F
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_NOT_IMPLEMENTED: Final = 501
_TEMPORARY: Final = (408, 425, 429)
# A person has to correct the configuration, here or at the destination.
_MISCONFIGURED: Final = {
    401: "the token is missing or was not accepted",
    403: "the token does not allow this",
    404: "there is no such service; check the url",
    407: "a proxy wants to know who we are",
}
DataSets = list[dict[str, Any]]  # as DICOM JSON


@contextmanager
def connect(
    destination: Destination, calling_ae_title: str, sop_classes: Iterable[str]
) -> Iterator["DicomWebClient"]:
    """A client of one DICOMweb service; connects with the first request. Raises ``Misconfigured``."""
    headers = {"Accept": _JSON, "User-Agent": f"neurotriage ({calling_ae_title})"}
    if destination.token_file is not None:
        headers["Authorization"] = f"Bearer {_token(destination.token_file)}"
    verify = ssl.create_default_context() if destination.tls is None else client_context(destination.tls)
    # A redirect could take results and the token to a host that nobody configured.
    with httpx.Client(headers=headers, verify=verify, timeout=_TIMEOUT, follow_redirects=False) as client:
        yield DicomWebClient(client, destination)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"token_file cannot be read: {error.__class__.__name__}") from error
    if not token.isprintable() or not token:
        raise Misconfigured("token_file does not hold a token")
    return token


class _ReadTimeout(Unavailable):
    """A request was sent and not answered in time."""


class DicomWebClient:
    """A client of one DICOMweb service."""

    def __init__(self, client: httpx.Client, destination: Destination) -> None:
        self._client = client
        self._destination = destination
        self._url = destination.url.rstrip("/")

    def store(self, path: Path, delivery: DueDelivery) -> StoreResult:
        """Send a result file by STOW-RS (PS3.18 10.5), as the bytes that were written."""
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
        status, data_sets = self._request("POST", url, headers=headers, body=body)
        return stow_result(status, data_sets, delivery.sop_instance_uid)

    @property
    def commits(self) -> bool:
        """False: hardly any archive offers the storage commitment of DICOMweb (PS3.18 13)."""
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
        """Query for objects by QIDO-RS (PS3.18 10.6), once per series. Raises as ``ArchiveClient``."""
        level = self._destination.find
        if level == "off":
            raise NotServed("no query is asked for")
        present: set[str] = set()
        for study_uid, series_instance_uid, uids in by_series(objects):
            url = f"{self._url}/studies/{study_uid}/series"
            url += (
                f"/{series_instance_uid}/instances?"
                if level == "image"
                else f"?SeriesInstanceUID={series_instance_uid}&"
            )
            answers = self._query(f"{url}limit={_QUERY_LIMIT}")
            pairs = [(_text(item, _SERIES), _text(item, _SOP_INSTANCE)) for item in answers]
            present |= matched(level, series_instance_uid, uids, pairs)
        return frozenset(present)

    def _query(self, url: str) -> DataSets:
        """The data sets that match a query. Raises as ``present`` does."""
        try:
            status, data_sets = self._request("GET", url)
            if status == _NOT_FOUND:  # the series, or the service, does not exist: another query tells
                status, _ = self._request("GET", f"{self._url}/studies?limit=1")
                data_sets = []
        except _ReadTimeout as timeout:
            raise Unanswered("the query was not answered in time") from timeout
        if status in (200, 204):
            return data_sets
        if status >= 500 and status != _NOT_IMPLEMENTED:
            raise Unavailable(f"the query was answered with HTTP status {status}")
        if status in _MISCONFIGURED and status != _NOT_FOUND:
            raise Misconfigured(f"the query was answered with HTTP status {status}: {_MISCONFIGURED[status]}")
        raise NotServed(f"the query was answered with HTTP status {status}")

    def _request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, DataSets]:
        """HTTP status and data sets (none where the response is not DICOM JSON). Raises ``Unavailable``."""
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
            kind = _ReadTimeout if isinstance(error, httpx.ReadTimeout) else Unavailable
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


def _data_sets(data: bytes) -> DataSets:
    """DICOM JSON (PS3.18 annex F): a data set or a list of them."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return []
    items = document if isinstance(document, list) else [document]
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


def _named(data_sets: DataSets, sequence: str, uid: str) -> Mapping[str, Any] | None:
    """The item of a sequence that references a SOP Instance UID."""
    items = (item for data_set in data_sets for item in _values(data_set, sequence) if isinstance(item, dict))
    return next((item for item in items if _text(item, _REFERENCED_INSTANCE) == uid), None)


def stow_result(status: int, data_sets: DataSets, uid: str) -> StoreResult:
    """The result of a STOW-RS request for one object, by the response (PS3.18 10.5.3 and annex I)."""
    stored = _named(data_sets, _REFERENCED, uid)
    failed = _named(data_sets, _FAILED, uid)
    if failed is not None:
        result = _failed(_number(failed, _FAILURE_REASON) or _PROCESSING_FAILURE)
        return replace(result, comment=comment(_text(failed, _ERROR_COMMENT)))
    if stored is not None:
        warning = _number(stored, _WARNING_REASON)
        return store_result(0) if warning is None else _warned(warning)
    if 200 <= status < 300:
        text = f"HTTP status {status}, but the answer does not name the object"
        return _doubtful(text)
    if status in _MISCONFIGURED or 300 <= status < 400:
        text = _MISCONFIGURED.get(status, "it points elsewhere")
        return StoreResult(DeliveryState.WAITING, f"HTTP status {status}: {text}", alarm=True)
    if status in _TEMPORARY or status >= 500:
        return StoreResult(DeliveryState.WAITING, f"the destination reports a failure (HTTP status {status})")
    # 409: the object may be there already.
    return StoreResult(DeliveryState.REFUSED, f"refused: HTTP status {status}", doubtful=status == _CONFLICT)


def _failed(reason: int) -> StoreResult:
    """The result of a FailureReason (0008,1197).

    An object that is there already is stored; a warning status is no valid reason for a failure.
    """
    if reason in (_DUPLICATE, ALREADY_EXISTS):
        return store_result(reason)
    if reason == _BEING_CREATED:
        return _doubtful(f"the destination says that it is being stored (0x{reason:04X})")
    if is_warning(reason):
        return _doubtful(f"the destination names it as failed, with a warning (0x{reason:04X})")
    return store_result(reason)


def _doubtful(text: str) -> StoreResult:
    """Stored if a query finds the object; where no query can be made, retried a few times."""
    return StoreResult(DeliveryState.STORED, text, max_failures=PROCESSING_FAILURES, doubtful=True)


def _warned(reason: int) -> StoreResult:
    result = store_result(reason)
    if result.state is DeliveryState.STORED:
        return result
    return StoreResult(DeliveryState.STORED, f"stored with a warning (0x{reason:04X})")
