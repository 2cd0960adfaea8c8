"""Names of SOP classes, including some that pydicom does not know."""

import re
from typing import Final

from pydicom.uid import UID
from pynetdicom import sop_class

_NEW: Final = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}


def sop_class_name(uid: UID) -> str:
    """The name of a SOP class (PS3.6 annex A), else that registered with pynetdicom, else "private"."""
    if uid in _NEW:
        return _NEW[uid]
    if uid.name != uid:
        return uid.name
    named = {str(value): key for key, value in vars(sop_class).items() if isinstance(value, UID)}
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", named.get(uid, "private"))
