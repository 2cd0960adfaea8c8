"""QIDO-RS (PS3.18 10.6) and WADO-RS (PS3.18 10.4): each part of an answer goes to the spool as it comes."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from dicom_listener.files.intake import FileIntake, NotTaken
from dicom_listener.spool import AssociationInfo, Spool, note_end
from neurotriage.core.client_tls import client_context
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Destination
from neurotriage.dicom.addresses import addresses_of
from neurotriage.dicom.multipart import (
    Malformed,
    MultipartReader,
    PartBegin,
    PartData,
    boundary_of,
    content_type,
)
from neurotriage.pull.lines import Key
from neurotriage.pull.source import Fetched, FoundStudy, SourceUnusable, StudyFailed, as_count

_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
_ANSWER_LIMIT_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 18
_MAX_MATCHES: Final = 50
_JSON: Final = "application/dicom+json"
_PART10: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_TAGS: Final = {"AccessionNumber": "00080050", "StudyInstanceUID": "0020000D"}
_COUNT: Final = "00201208"  # NumberOfStudyRelatedInstances
_AE_LIMIT: Final = 16


class WebSource:
    """A DICOMweb service: ``with WebSource(...) as source``."""

    def __init__(
        self, destination: Destination, spool: Spool, *, our_ae_title: str, study_timeout_s: float
    ) -> None:
        self._url = destination.url.rstrip("/")
        self._spool, self._study_timeout_s = spool, study_timeout_s
        headers = {"User-Agent": f"neurotriage ({our_ae_title})", "Accept-Encoding": "identity"}
        if destination.token_file is not None:
            headers["Authorization"] = f"Bearer {_token(destination)}"
        tls = destination.tls
        verify = ssl.create_default_context() if tls is None else client_context(tls)
        # A redirect could take the token to a host that nobody configured.
        self._client = httpx.Client(headers=headers, verify=verify, timeout=_TIMEOUT, follow_redirects=False)
        host = urlsplit(destination.url).hostname or ""
        address = next(iter(sorted(map(str, addresses_of(host)))), "127.0.0.1")
        self._sender = AssociationInfo(destination.name[:_AE_LIMIT], our_ae_title, address)

    def close(self) -> None:
        self._client.close()

    def find(self, key: Key, value: str) -> list[FoundStudy]:
        """The studies with exactly this value; others that the archive may add are left out."""
        parameters = {key: value, "includefield": _COUNT, "limit": str(_MAX_MATCHES)}
        with self._requested("/studies", parameters, _JSON) as response:
            found = _data_sets(response)
        return [
            FoundStudy(_value(study, _TAGS["StudyInstanceUID"]), as_count(_value(study, _COUNT)))
            for study in found
            if _value(study, _TAGS[key]) == value
        ]

    def fetch(self, study: FoundStudy) -> Fetched:
        """Retrieve a study; each instance is durable before the next is read."""
        deadline = time.monotonic() + self._study_timeout_s
        association = replace(self._sender, association_id=uuid4().hex)
        with self._requested(f"/studies/{study.study_instance_uid}", {}, _PART10) as response:
            try:
                reader = MultipartReader(boundary_of(content_type(response.headers.get("content-type", ""))))
                with _Parts(self._spool, association) as parts:
                    for chunk in response.iter_bytes(_CHUNK_BYTES):
                        parts.take(reader, chunk)
                        if time.monotonic() > deadline:
                            raise StudyFailed(f"it took longer than {self._study_timeout_s:g} s")
            except Malformed as error:
                raise StudyFailed(f"the answer of {self._url} is damaged: {error}") from error
            except OSError as error:
                raise Unavailable(f"the storage takes no more: {error.strerror}") from error
        if not reader.complete:
            raise Unavailable(f"the answer of {self._url} ends early")
        if parts.stored and not parts.refused:
            note_end(self._spool, association, released=True)
        refused = f"{len(parts.refused)} were refused: {parts.refused[0]}" if parts.refused else ""
        return Fetched(len(parts.stored), refused)

    @contextmanager
    def _requested(self, path: str, parameters: dict[str, str], accept: str) -> Iterator[httpx.Response]:
        """A successful answer, whose body is still to come. Raises as ``find``."""
        try:
            with self._client.stream(
                "GET", f"{self._url}{path}", params=parameters, headers={"Accept": accept}
            ) as response:
                self._require_success(response.status_code)
                yield response
        except httpx.HTTPError as error:
            if "certificate" in str(error).lower():
                raise SourceUnusable(
                    f"{self._url} cannot be trusted, or does not trust us: {error}"
                ) from error
            raise Unavailable(f"{self._url} does not answer: {error or type(error).__name__}") from error

    def _require_success(self, status: int) -> None:
        if status in (200, 204, 206):
            return
        text = f"{self._url} answered with HTTP status {status}"
        if status in (401, 403, 407) or 300 <= status < 400:
            raise SourceUnusable(text)
        raise Unavailable(text) if status >= 500 or status in (408, 425, 429) else StudyFailed(text)


class _Parts:
    """The parts of one answer on their way into the spool."""

    def __init__(self, spool: Spool, association: AssociationInfo) -> None:
        self._spool, self._association = spool, association
        self._intake: FileIntake | None = None
        self.stored: set[str] = set()
        self.refused: list[str] = []

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, *_: object) -> None:
        if self._intake is not None:
            self._intake.discard()

    def take(self, reader: MultipartReader, chunk: bytes) -> None:
        """Raises ``Malformed``, and ``OSError`` where the disk fails."""
        for event in reader.feed(chunk):
            if isinstance(event, PartBegin):
                self._intake = FileIntake(self._spool, self._association)
            elif self._intake is not None:
                try:
                    if isinstance(event, PartData):
                        self._intake.feed(event.data)
                    else:
                        self._end(self._intake)
                except NotTaken as refused:
                    self._intake.discard()
                    self._intake = None
                    self.refused.append(str(refused))

    def _end(self, intake: FileIntake) -> None:
        intake.commit()
        self._intake = None
        if intake.start is not None:
            self.stored.add(intake.start.sop_instance_uid)


def _token(destination: Destination) -> str:
    try:
        token = destination.token_file.read_text("ascii").strip() if destination.token_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnusable(f"token_file of {destination.name} cannot be read") from error
    if not token or not token.isprintable():
        raise SourceUnusable(f"token_file of {destination.name} does not hold a token")
    return token


def _data_sets(response: httpx.Response) -> list[dict[str, Any]]:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _ANSWER_LIMIT_BYTES:
            raise StudyFailed("the answer to the query is too large")
    if not body:
        return []
    try:
        found = httpx.Response(200, content=bytes(body)).json()
    except ValueError as error:
        raise StudyFailed("the answer to the query is no JSON") from error
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _value(study: dict[str, Any], tag: str) -> str:
    element = study.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values else ""
