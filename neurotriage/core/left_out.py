"""Sentences about images of an accepted series that were not analysed; they join the ``degradations``."""

from collections.abc import Iterable

from neurotriage.core.values import LeftOut
from neurotriage.core.wording import counted


def left_out_sentences(left_out: Iterable[LeftOut]) -> tuple[str, ...]:
    """One sentence per series and reason: ``2 images of series 1.2.3 were left out: a localizer``."""
    return tuple(
        f"{counted(item.count, 'image')} of series {item.series_instance_uid} "
        f"{'was' if item.count == 1 else 'were'} left out: {item.reason.text}"
        for item in left_out
    )
