"""STOW-RS and QIDO-RS (PS3.18 10.5 and 10.6). Objects go as the bytes that were written.

An HTTP status tells how the request went, the response's sequences what became of the object: only the
sequences make an object stored.
"""

import json
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx

from db.ledger import DueDelivery
from db.tables import DeliveryState
from neurotriage.core.commitment import CommitmentReport
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import Destination
from worker.delivery.peer import Misconfigured, by_series, result_file
from worker.delivery.status import PROCESSING_FAILURES, Verdict, verdict_of
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

_PROCESSING_FAILURE: Final = 0x0110
_DUPLICATE: Final = 0x0111
_NOT_FOUND: Final = 404
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


class WebPeer:
    """A DICOMweb service, asked for one study."""

    def __init__(self, client: httpx.Client, destination: Destination) -> None:
        self._client = client
        self._destination = destination
        self._url = destination.url.rstrip("/")

    def store(self, path: Path, delivery: DueDelivery) -> Verdict:
        """Send one object by STOW-RS."""
        try:
            result_file(path, delivery.size_bytes)
            data = path.read_bytes()
        except Refused as damaged:
            return Verdict(DeliveryState.REFUSED, str(damaged))
        except OSError as error:  # the storage may come back
            return Verdict(DeliveryState.WAITING, f"the result file cannot be read: {error.strerror}")
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

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str] | None:
        """Look for objects by QIDO-RS, one query per series."""
        if self._destination.find == "off":
            return None
        found: set[str] = set()
        for study_uid, series_uid, uids in by_series(objects):
            by_instance = self._destination.find == "image"
            url = f"{self._url}/studies/{study_uid}/series"
            url += f"/{series_uid}/instances?" if by_instance else f"?SeriesInstanceUID={series_uid}&"
            answers = self._query(f"{url}limit={_QUERY_LIMIT}")
            if answers is None:
                return None
            if by_instance:
                found |= uids & {_text(item, _SOP_INSTANCE) for item in answers}
            elif any(_text(item, _SERIES) == series_uid for item in answers):
                found |= uids
        return frozenset(found)

    def _query(self, url: str) -> Answer | None:
        """What matches; None where no query can be made."""
        status, answer = self._request("GET", url)
        if status in (200, 204):
            return answer or []
        if status == _NOT_FOUND:  # what was asked for, or the service
            status, _ = self._request("GET", f"{self._url}/studies?limit=1")
            return [] if status in (200, 204) else None
        if status >= 500 and status != _NOT_IMPLEMENTED:
            raise Unavailable(f"the query was answered with HTTP status {status}")
        if status in _BARRED:
            raise Misconfigured(f"the query was answered with HTTP status {status}: {_BARRED[status]}")
        return None

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
            raise Unavailable(f"{self._url} does not answer: {why}") from error


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


def stow_verdict(status: int, answer: Answer, uid: str) -> Verdict:
    """What the response to a store says of one object (PS3.18 10.5.3 and annex I)."""
    stored = _named(answer, _REFERENCED, uid)
    failed = _named(answer, _FAILED, uid)
    if failed is not None:
        verdict = verdict_of(_number(failed, _FAILURE_REASON) or _PROCESSING_FAILURE)
        # A warning is no reason to fail; a duplicate is this very object.
        known = verdict.state is not DeliveryState.STORED or verdict == verdict_of(_DUPLICATE)
        return verdict if known else verdict_of(_PROCESSING_FAILURE)
    if stored is not None:
        warning = _number(stored, _WARNING_REASON)
        return verdict_of(0) if warning is None else _warned(warning)
    if 200 <= status < 300:
        text = f"HTTP status {status}, but the answer does not say that the object was stored"
        return Verdict(DeliveryState.WAITING, text, most_failures=PROCESSING_FAILURES)
    if status in _BARRED or 300 <= status < 400:
        text = _BARRED.get(status, "it points elsewhere")
        return Verdict(DeliveryState.WAITING, f"HTTP status {status}: {text}", alarm=True)
    if status in _PASSING or status >= 500:
        return Verdict(DeliveryState.WAITING, f"the destination reports a failure (HTTP status {status})")
    return Verdict(DeliveryState.REFUSED, f"refused: HTTP status {status}")


def _warned(reason: int) -> Verdict:
    verdict = verdict_of(reason)
    if verdict.state is DeliveryState.STORED:
        return verdict
    return Verdict(DeliveryState.STORED, f"stored with a warning (0x{reason:04X})")
