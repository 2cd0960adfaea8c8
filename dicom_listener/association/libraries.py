"""pynetdicom and pydicom as a listener needs them: silent about what peers write, and lenient."""

import logging
import warnings

from pynetdicom import _config

from neurotriage.core.process.log import WithoutValues


def set_up_libraries() -> None:
    """Both log raw text of the peer, over several lines; only the place of it is told.

    And pynetdicom aborts for a UID of more than 64 characters, where we refuse the one object.
    """
    _config.VALIDATORS["UI"] = lambda _: (True, "")
    _config.LOG_HANDLER_LEVEL = "none"
    library = logging.getLogger("pynetdicom")
    library.setLevel(logging.ERROR)
    library.propagate = False
    library.handlers = [WithoutValues()]
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
