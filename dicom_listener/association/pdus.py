"""The PDUs of the DICOM Upper Layer (PS3.8 9.3) that an acceptor sends, and the names of those it reads."""

import struct
from typing import Final

ASSOCIATE_RQ: Final = 0x01
P_DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
ABORT: Final = 0x07

# PS3.8 9.3.1: type, reserved, length of the rest.
HEADER: Final = struct.Struct(">BxL")
# PS3.8 9.3.5.1: length of what follows, presentation context, and the control header of E.2.
ITEM_HEADER: Final = struct.Struct(">LBB")
# Of the item's length: context and control header.
ITEM_PREFIX_BYTES: Final = 2
IS_COMMAND: Final = 0x01
IS_LAST: Final = 0x02

RELEASE_RP: Final = struct.pack(">BxLL", 0x06, 4, 0)

# Reasons of an abort by the service provider (PS3.8 table 9-26).
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6


def abort(reason: int) -> bytes:
    """An A-ABORT by the service provider (PS3.8 9.3.8)."""
    return struct.pack(">BxLBBBB", ABORT, 4, 0, 0, 2, reason)


def reject(result: int, source: int, diagnostic: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BxLBBBB", 0x03, 4, 0, result, source, diagnostic)


def command_pdu(context_id: int, command: bytes) -> bytes:
    """A P-DATA-TF that holds a whole command set, which is far shorter than any maximum length."""
    item = ITEM_HEADER.pack(ITEM_PREFIX_BYTES + len(command), context_id, IS_COMMAND | IS_LAST) + command
    return HEADER.pack(P_DATA_TF, len(item)) + item
