"""What goes out: result objects, their destinations, and when sending is repeated."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from neurotriage.core.settings.section import Section, TlsSettings
from neurotriage.core.values import SERIES_LABELS, Claims, OverlayStyle, ResultKind, SeriesLabel


class DeliverySettings(Section):
    """``[delivery]``: when sending is repeated while a destination does not take results."""

    retry_s: float = Field(30.0, gt=0, description="delay before the second try; doubles with each")
    retry_max_s: float = Field(3600.0, gt=0, description="longest delay between two tries")
    max_attempts: int = Field(200, ge=1, description="tries before a delivery is given up (about a week)")
    alarm_after_s: float = Field(
        900.0, gt=0, description="a delivery that waits longer than this raises an alarm"
    )
    commitment_wait_s: float = Field(
        3600.0,
        gt=0,
        description="wait this long for commitment before querying",
    )
    max_resends: int = Field(
        2, ge=0, description="how often an object that the destination lost is sent again"
    )


ObjectName = Literal[
    "page", "overlay", "overlay-multiframe", "report", "ko", "seg", "seg-labelmap", "pm", "gsps", "pdf"
]
_OF_EVERY_SLICE = {
    ResultKind.OVERLAY: ResultKind.OVERLAY_SERIES,
    ResultKind.OVERLAY_FRAMES: ResultKind.OVERLAY_SERIES_FRAMES,
}


class SeriesSettings(Section):
    """``[[results.series]]``: number and description of the series of one kind of object."""

    kind: ResultKind
    number: int = Field(ge=1, le=2**31 - 1)
    description: str = Field(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]*$")


class ResultsSettings(Section):
    """``[results]``: the content of result objects."""

    claims: Claims = Field(Claims.RESEARCH, description="triage-only: no region, side, class or heat map")
    overlay: OverlayStyle = Field(
        OverlayStyle.HEAT,
        description="overlays show heat map and outline, the outline alone, or both beside the bare slice",
    )
    series: tuple[SeriesSettings, ...] = Field((), description="series numbers and descriptions of our own")

    @property
    def labels(self) -> dict[ResultKind, SeriesLabel]:
        """Number and description of the series of each kind, the configured ones first."""
        own = {item.kind: SeriesLabel(item.number, item.description) for item in self.series}
        return {**SERIES_LABELS, **own}


def _spelt_out(names: object) -> object:
    """``sc`` stands for page and overlay, ``sr`` for report."""
    short = {"sc": ["page", "overlay"], "sr": ["report"]}
    if not isinstance(names, list | tuple):
        return names
    return [kind for name in names for kind in short.get(str(name), [name])]


class Destination(Section):
    """``[[destination]]``: a PACS that receives the results."""

    name: str = Field(pattern=r"^[^/]+$")  # a slash is followed by the peer that sent the study
    type: Literal["dimse", "dicomweb"] = Field("dimse", description="C-STORE, or STOW-RS")
    to_sender: bool = Field(False, description="to the [[peer]] that sent the study")
    ae_title: str = Field("", max_length=16, validate_default=True)
    host: str = Field("", validate_default=True)
    port: int = Field(0, ge=0, le=65535, validate_default=True)
    url: str = Field("", validate_default=True, description="of the DICOMweb service, above /studies")
    token_file: Path | None = Field(None, description="holds the bearer token; read anew for each study")
    tls: TlsSettings | None = Field(None, description="encrypt; certificate and key are the client's")
    compression: Literal["none", "jpeg-ls"] = Field(
        "none", description="lossless, of pictures, where the archive accepts it"
    )
    commitment: Literal["auto", "off"] = Field("auto", description="ask for storage commitment where offered")
    find: Literal["image", "series", "off"] = Field(
        "image", description="level of the query for objects that were not committed"
    )
    rejection_notes: bool = Field(
        False, description="gets a rejection note (IOCM) for results that are withdrawn"
    )
    hold: bool = Field(False, description="results wait until somebody releases them (`neurotriage release`)")
    report_unanalysed: Literal["head", "all", "none"] = "head"
    objects: Annotated[tuple[ObjectName, ...], BeforeValidator(_spelt_out)] = Field(
        ("page", "overlay", "report"), min_length=1, description="the kinds of object that it receives"
    )
    overlay: Literal["findings", "series", "none"] = Field(
        "findings", description="overlays of the slices that matter, of every slice, or none"
    )

    @field_validator("name")
    @classmethod
    def _is_no_other_word(cls, value: str) -> str:
        if value == "analysis":
            raise ValueError("taken: `neurotriage pause analysis` means another thing")
        return value

    @field_validator("ae_title", "host", "port", "url")
    @classmethod
    def _has_its_address(cls, value: str | int, info: ValidationInfo) -> str | int:
        """Require the address that belongs to the type of destination, and no other."""
        if "type" not in info.data or "to_sender" not in info.data:
            return value  # that is an error of its own
        web = info.data["type"] == "dicomweb"
        needed = web if info.field_name == "url" else not web and not info.data["to_sender"]
        if needed and not value:
            raise ValueError(f"a destination of type {info.data['type']} needs it")
        if value and not needed:
            owner = "dimse without to_sender" if info.field_name != "url" else "dicomweb"
            raise ValueError(f"only for type {owner}")
        if value and info.field_name == "url" and not re.match(r"https?://[^/@]+(/[^@]*)?$", str(value)):
            raise ValueError("not an http or https URL without user and password")
        return value

    @field_validator("to_sender", "compression")
    @classmethod
    def _is_reached_by_dimse(cls, value: bool | str, info: ValidationInfo) -> bool | str:
        if value and value != "none" and info.data.get("type") == "dicomweb":
            raise ValueError("only for type dimse")
        return value

    @property
    def kinds(self) -> frozenset[ResultKind]:
        """The kinds of object that the destination receives."""
        asked = frozenset(map(ResultKind, self.objects))
        if self.overlay == "findings":
            return asked
        of_every_slice = {every for kind, every in _OF_EVERY_SLICE.items() if kind in asked}
        return asked - _OF_EVERY_SLICE.keys() | (of_every_slice if self.overlay == "series" else set())
