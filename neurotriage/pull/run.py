"""Pulls line by line; each line ends in a named state, and a killed run goes on where it was."""

from collections.abc import Callable, Sequence

import structlog

from neurotriage.core.errors import Unavailable
from neurotriage.pull.lines import Key, LineResult, LineState, PullReport, problem_of
from neurotriage.pull.pace import Pace
from neurotriage.pull.source import Fetched, FoundStudy, Source, StudyFailed

log = structlog.get_logger()

# An accession number may stand for a few studies; more mean that the archive ignores the key.
_MAX_STUDIES = 20


def pull(
    source: Source,
    key: Key,
    wanted: Sequence[str],
    report: PullReport,
    pace: Pace,
    on_line: Callable[[LineResult], object],
    await_room: Callable[[], object] = lambda: None,
) -> None:
    """Pull each line that has no end yet. ``on_line`` gets each result once it is in the report.

    ``await_room`` is called before each and holds up what would come faster than it is recorded. Raises
    ``SourceUnusable``, ``OSError`` where the report cannot be written, and as ``await_room``.
    """
    for line in wanted:
        pace.await_window()
        await_room()
        began = pace.clock.now()
        state, fetched, expected, detail = _pulled(source, key, line, pace)
        at = pace.clock.now().isoformat(timespec="seconds")
        result = LineResult(line, state, fetched, expected, detail, at)
        report.write(result)
        log.info("line_pulled", state=state.value, images=fetched, expected=expected)
        on_line(result)
        if state is not LineState.NOT_FOUND and line != wanted[-1]:
            pace.after(began, fetched)


_End = tuple[LineState, int, int | None, str]


def _pulled(source: Source, key: Key, line: str, pace: Pace) -> _End:
    problem = problem_of(line, key)
    if problem:
        return LineState.FAILED, 0, None, problem
    for attempt in range(pace.settings.retries + 1):
        try:
            return _try(source, key, line)
        except StudyFailed as error:
            return LineState.FAILED, 0, None, str(error)
        except Unavailable as error:
            why = str(error)
            if attempt < pace.settings.retries:
                pace.retry(attempt, why)
    return LineState.FAILED, 0, None, why


def _try(source: Source, key: Key, line: str) -> _End:
    studies = source.find(key, line)
    if not studies:
        return LineState.NOT_FOUND, 0, None, ""
    if len(studies) > _MAX_STUDIES:
        raise StudyFailed(f"the archive answers with more than {_MAX_STUDIES} studies")
    return _end(studies, [source.fetch(study) for study in studies])


def _end(studies: Sequence[FoundStudy], fetched: Sequence[Fetched]) -> _End:
    images = sum(item.images for item in fetched)
    counts = [study.images for study in studies]
    expected = None if None in counts else sum(count or 0 for count in counts)
    details = [item.detail for item in fetched if item.detail]
    details += [f"{len(studies)} studies"] if len(studies) > 1 else []
    short = any(
        study.images is not None and item.images < study.images
        for study, item in zip(studies, fetched, strict=True)
    )
    if not images:
        return LineState.FAILED, 0, expected, "; ".join(["no image came", *details])
    whole = not short and not any(item.detail for item in fetched)
    return (LineState.DONE if whole else LineState.PARTLY), images, expected, "; ".join(details)
