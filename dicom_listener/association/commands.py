"""DIMSE command sets (PS3.7 6.3, E.1): those that a listener receives, and its answers."""

import struct
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
_RESPONSE: Final = 0x8000
_NO_DATA_SET: Final = 0x0101

# Element numbers of group 0000 (PS3.7 E.1-1).
_AFFECTED_SOP_CLASS_UID: Final = 0x0002
_REQUESTED_SOP_CLASS_UID: Final = 0x0003
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_RESPONDED_TO: Final = 0x0120
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_ERROR_COMMENT: Final = 0x0902
_AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
_REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
_EVENT_TYPE_ID: Final = 0x1002
_ACTION_TYPE_ID: Final = 0x1008

_ELEMENT: Final = struct.Struct("<HHL")  # Implicit VR Little Endian (PS3.5 7.1.3)
_COMMENT_LIMIT: Final = 64  # VR LO


class UnreadableCommand(Exception):
    """A command set that nobody could answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request. UIDs are as sent, without padding; they may be empty or no UIDs at all.

    They are those of the affected class and instance, or, as of N-ACTION, of the requested ones.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: bytes = b""
    sop_instance_uid: bytes = b""
    event_type_id: bytes = b""
    action_type_id: bytes = b""


def read_command(data: bytes) -> Command:
    """The request in an encoded command set. Raises ``UnreadableCommand``."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + _ELEMENT.size > len(data):
            raise UnreadableCommand("a command set that ends within an element")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0 or position + length > len(data):
            raise UnreadableCommand("a command set with another group, or longer than itself")
        values[element] = data[position : position + length]
        position += length
    field = _number(values, _COMMAND_FIELD)
    if field == C_CANCEL_RQ:  # it has no message ID of its own, and no SOP class (PS3.7 9.3.2.3)
        return Command(field, 0, has_data_set=False)
    command = Command(
        field=field,
        message_id=_number(values, _MESSAGE_ID),
        has_data_set=_number(values, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class_uid=_uid(values, _AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID),
        sop_instance_uid=_uid(values, _AFFECTED_SOP_INSTANCE_UID, _REQUESTED_SOP_INSTANCE_UID),
        event_type_id=values.get(_EVENT_TYPE_ID, b""),
        action_type_id=values.get(_ACTION_TYPE_ID, b""),
    )
    if not command.sop_class_uid:
        raise UnreadableCommand("a request without a SOP class")
    return command


def response(command: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers a request, itself without a data set (PS3.7 9.3, 10.3)."""
    elements = [
        (_AFFECTED_SOP_CLASS_UID, _even(command.sop_class_uid, b"\0")),
        (_COMMAND_FIELD, struct.pack("<H", command.field | _RESPONSE)),
        (_MESSAGE_ID_RESPONDED_TO, struct.pack("<H", command.message_id)),
        (_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
        (_STATUS, struct.pack("<H", status)),
    ]
    if comment:
        elements.append((_ERROR_COMMENT, _even(comment.encode("ascii", "replace")[:_COMMENT_LIMIT], b" ")))
    if command.field != C_ECHO_RQ and command.sop_instance_uid:
        elements.append((_AFFECTED_SOP_INSTANCE_UID, _even(command.sop_instance_uid, b"\0")))
    if command.field == N_EVENT_REPORT_RQ and command.event_type_id:
        elements.append((_EVENT_TYPE_ID, command.event_type_id))
    if command.field == N_ACTION_RQ and command.action_type_id:
        elements.append((_ACTION_TYPE_ID, command.action_type_id))
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _uid(values: dict[int, bytes], affected: int, requested: int) -> bytes:
    return (values.get(affected) or values.get(requested, b"")).rstrip(b"\0 ")


def _number(values: dict[int, bytes], element: int) -> int:
    value = values.get(element, b"")
    if len(value) != 2:
        raise UnreadableCommand(f"a command set without a usable (0000,{element:04x})")
    return int.from_bytes(value, "little")


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)
