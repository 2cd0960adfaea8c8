"""Numbers and dates in sentences for readers, in the same notation everywhere."""

from datetime import datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def counted(count: int, noun: str) -> str:
    """``1 slice``, ``2 slices``, ``0 slices``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def percent(probability: float) -> str:
    """A probability in whole percent; ``<1 %`` and ``>99 %`` at the ends, as no model is certain."""
    if probability < 0.01:
        return "<1 %"
    if probability > 0.99:
        return ">99 %"
    return f"{100 * probability:.0f} %"


def percent_beside(probability: float, limit: float) -> str:
    """The same beside a limit: if both read alike, whether the probability is above or below it."""
    shown = percent(probability)
    if shown != percent(limit):
        return shown
    return f"just {'below' if probability < limit else 'above'} {shown}"


def date_and_time(moment: datetime) -> str:
    """``29 Nov 2026, 14:05 +01:00``, or ``UTC``; the moment has a time zone."""
    offset = moment.strftime("%z")
    zone = "UTC" if offset in ("+0000", "-0000") else f"{offset[:3]}:{offset[3:5]}"
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} {zone}"
