"""Set-up of pynetdicom and pydicom for a listener: no values of peers in logs, and lenient validation."""

import logging
import warnings

from pynetdicom import _config

from neurotriage.core.process.log import WithoutValues


def set_up_libraries() -> None:
    """Silence what both libraries log of received values; pynetdicom's errors are logged by place alone.

    Also turns off pynetdicom's UID validation, which would abort an association for a UID of more than 64
    characters, where we refuse one instance. Affects the whole process.
    """
    _config.VALIDATORS["UI"] = lambda _: (True, "")
    _config.LOG_HANDLER_LEVEL = "none"
    library = logging.getLogger("pynetdicom")
    library.setLevel(logging.ERROR)
    library.propagate = False
    library.handlers = [WithoutValues()]
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
