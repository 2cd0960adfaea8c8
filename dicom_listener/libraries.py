"""pynetdicom and pydicom as a listener needs them: silent about what peers write, and lenient."""

import logging
import warnings

import structlog
from pynetdicom import _config

log = structlog.get_logger()


class _WithoutPeerText(logging.Handler):
    """Tells that a library complained, and where: its own words quote what the peer wrote."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        log.warning(
            "library_error", where=f"{record.name}:{record.lineno}", error=kind.__name__ if kind else ""
        )


def set_up_libraries() -> None:
    """Both log raw text of the peer, over several lines; only the place of it is told.

    And pynetdicom aborts for a UID of more than 64 characters, where we refuse the one object.
    """
    _config.VALIDATORS["UI"] = lambda _: (True, "")
    _config.LOG_HANDLER_LEVEL = "none"
    library = logging.getLogger("pynetdicom")
    library.setLevel(logging.ERROR)
    library.propagate = False
    library.handlers = [_WithoutPeerText()]
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
