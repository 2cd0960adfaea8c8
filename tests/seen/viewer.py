"""A browser with OHIF in it, and what a reader sees when a study is opened."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Response, sync_playwright
from playwright.sync_api import TimeoutError as TimedOut

_FLAGS: Final = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
_PAGE: Final = (Path(__file__).parent / "page.js").read_text()
_WIDTH_PX, _HEIGHT_PX = 1400, 800
_POLLING_MS: Final = 250
_STEP_S: Final = 120.0  # the longest wait for anything: a loaded machine draws slowly
_BROKEN = re.compile(r"\b(?:Type|Range|Reference)Error\b|Uncaught|No image URI found")
_OVER_SLICES: Final = {"SEG", "PMAP"}
_MIDDLE: Final = 0.5
# Where a drawn head has its lesion, and where it would be if the slices were in the other order.
_LESION, _MIRRORED = 0.35, 0.65
_COLOURED, _MIN_COLOURED_PX = 60, 100  # difference of a pixel's colours, and how many such pixels are seen
_MIN_LEVELS, _MIN_RANGE = 16, 48  # of an image's grey values; a blank viewport has one or two


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn over one image."""

    image: str  # its SOP Instance UID
    shapes: int
    texts: tuple[tuple[str, ...], ...]  # lines of each text


@dataclass(frozen=True, slots=True)
class Series:
    """A series as the viewer lists it, and what came of opening it."""

    uid: str
    modality: str
    description: str
    frames: int
    supported: bool
    blank: bool = True
    drawings: tuple[Drawing, ...] = ()  # of a report: one for each region that was stepped to
    colours: tuple[bool, ...] = ()  # of a mask or map: whether it lies over the lesion, and mirrored


@dataclass(frozen=True, slots=True)
class Look:
    """All that was seen of a study."""

    series: tuple[Series, ...]
    faults: tuple[str, ...]  # what a reader must never meet, in words


class Viewer:
    """OHIF in one browser; studies are opened one after the other, each in a page of its own."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self._context = context
        self._address = address

    def look(self, study_uid: str, series: int, folder: Path) -> Look:
        """Open each of so many series of a study as a reader would; pictures go into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        page = self._context.new_page()
        try:
            return _Reading(page, folder).read(
                f"{self._address}/viewer?StudyInstanceUIDs={study_uid}", series
            )
        finally:
            page.close()


class _Reading:
    """One study in one page."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._faults: list[str] = []
        page.set_default_timeout(1000 * _STEP_S)
        page.add_init_script(_PAGE)
        page.on("crash", lambda _: self._faults.append("the page crashed"))
        page.on("console", self._heard)
        page.on("response", self._answered)

    def read(self, address: str, count: int) -> Look:
        series: list[Series] = []
        try:
            self._page.goto(address, wait_until="commit")
            self._until(f"window.seen?.listed({count})")
            # Maps last: OHIF leaves their colours and window on what is opened after them.
            listed = sorted(self._page.evaluate("seen.series()"), key=lambda item: item["modality"] == "PMAP")
            for number, item in enumerate(listed):
                series.append(self._opened(number, item))
        except TimedOut as late:
            self._page.screenshot(path=self._folder / "late.png")
            self._faults.append(f"after {len(series)} series: {late}")
        self._faults += self._page.evaluate("seen.faults")
        if error := self._page.evaluate("seen.errorPage()"):
            self._faults.append(f"error page: {error}")
        return Look(tuple(series), tuple(dict.fromkeys(self._faults)))

    def _opened(self, number: int, item: dict[str, Any]) -> Series:
        names = ("uid", "modality", "description", "frames", "supported")
        series = Series(**{name: item[name] for name in names})
        if not series.supported:
            return series
        self._double_click(item["key"])
        self._until(f"seen.shows('{item['key']}')")
        if series.modality == "SR":
            return self._report(number, series, item["key"])
        name = f"{number:02d}-{series.modality}"
        if series.modality in _OVER_SLICES:
            return self._overlaid(series, name)
        if series.modality == "DOC":
            return replace(series, blank=not self._comes(lambda: not self._photograph(name)))
        self._page.evaluate(f"seen.step({_MIDDLE})")  # the outermost slices of a head may well be air
        self._until(f"seen.shows('{item['key']}')")
        return replace(series, blank=self._photograph(name))

    def _overlaid(self, series: Series, name: str) -> Series:
        """Whether colour lies over the lesion, and over its mirror image along the slices."""
        on_the_lesion = self._comes(lambda: self._coloured(_LESION))
        if not on_the_lesion:
            self._faults.append(f"no colour over the lesion: {self._page.evaluate('seen.pictured()')}")
        blank = self._photograph(f"{name}-lesion")
        mirrored = not self._comes(lambda: not self._coloured(_MIRRORED))
        blank |= self._photograph(f"{name}-mirrored")
        return replace(series, blank=blank, colours=(on_the_lesion, mirrored))

    def _comes(self, condition: Callable[[], bool]) -> bool:
        """Whether the picture becomes so: of what is drawn last nobody tells."""
        end = time.monotonic() + _STEP_S
        while not (so := condition()) and time.monotonic() < end:
            self._page.wait_for_timeout(_POLLING_MS)
        return so

    def _report(self, number: int, series: Series, key: str) -> Series:
        """Step through the regions of a report."""
        drawings, blank = [], False
        regions = next(item["regions"] for item in self._page.evaluate("seen.series()") if item["key"] == key)
        for place, region in enumerate(regions):
            if place:
                self._page.locator("[data-cy=viewport-action-arrows-right]").click()
            self._until(f"seen.faults.length || seen.drew('{region['image']}')")
            blank |= self._photograph(f"{number:02d}-SR-{place + 1}")
            drawn = self._page.evaluate("seen.drawing()")
            drawings.append(Drawing(drawn["image"], drawn["shapes"], tuple(map(tuple, drawn["texts"]))))
        return replace(series, blank=blank or not regions, drawings=tuple(drawings))

    def _double_click(self, key: str) -> None:
        """On the entry in the list of series; on its upper part, which has no buttons."""
        entry = self._page.locator(f"[id='thumbnail-{key}']")
        entry.scroll_into_view_if_needed()
        entry.dblclick(position={"x": 40, "y": 20})

    def _photograph(self, name: str) -> bool:
        """Keep a picture of the page; True where the viewport shows nothing."""
        grey = np.asarray(self._middle(self._page.screenshot(path=self._folder / f"{name}.png")).convert("L"))
        return len(np.unique(grey)) < _MIN_LEVELS or int(np.ptp(grey)) < _MIN_RANGE

    def _coloured(self, share: float) -> bool:
        """Whether something in colour lies over the image at a share of the way through the series.

        Goes there each time that it is asked: a viewport that is still being set up forgets where it was.
        """
        self._page.evaluate(f"seen.step({share})")
        colours = np.asarray(self._middle(self._page.screenshot()).convert("RGB")).astype(int)
        return bool((np.ptp(colours, axis=2) > _COLOURED).sum() > _MIN_COLOURED_PX)

    def _middle(self, screenshot: bytes) -> Image.Image:
        """The viewport without its edges, where words are."""
        pane = self._page.locator("[data-cy=viewport-pane]").first.bounding_box()
        assert pane is not None
        left, top, width, height = (round(pane[side]) for side in ("x", "y", "width", "height"))
        middle = (left + width // 4, top + height // 5, left + 3 * width // 4, top + 4 * height // 5)
        return Image.open(BytesIO(screenshot)).crop(middle)

    def _until(self, condition: str) -> None:
        self._page.wait_for_function(condition, polling=_POLLING_MS)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and _BROKEN.search(message.text):
            self._faults.append(f"console: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and "/dicom-web/" in response.url:
            self._faults.append(f"HTTP {response.status}: {response.url}")


@contextmanager
def browser(address: str) -> Iterator[Viewer]:
    """OHIF at ``address`` in a headless Chromium, drawn by the CPU."""
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=shutil.which("chromium"), args=list(_FLAGS))
        context = started.new_context(
            viewport={"width": _WIDTH_PX, "height": _HEIGHT_PX}, service_workers="block"
        )
        yield Viewer(context, address)
        started.close()
