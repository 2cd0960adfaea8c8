"""A destination has the address of its type, and no other."""

from typing import Any

import pytest
from pydantic import ValidationError

from neurotriage.core.settings import Destination

pytestmark = pytest.mark.unit

DIMSE = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104}
WEB = {"name": "web", "type": "dicomweb", "url": "https://h/dicom-web"}


@pytest.mark.parametrize(
    "usable",
    [
        DIMSE,
        WEB,
        {**WEB, "url": "http://h:8042"},
        {"name": "b", "to_sender": True},
        {**DIMSE, "compression": "jpeg-ls"},
    ],
)
def test_each_type_has_its_address(usable: dict[str, Any]) -> None:
    assert Destination.model_validate(usable).name == usable["name"]


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"name": "pacs"}, "port"),
        ({**DIMSE, "port": 0}, "port"),
        ({**DIMSE, "url": "https://h"}, "url"),
        ({**DIMSE, "to_sender": True}, "host"),
        ({"name": "web", "type": "dicomweb"}, "url"),
        ({**WEB, "port": 104}, "port"),
        ({**WEB, "to_sender": True}, "to_sender"),
        ({**WEB, "url": "ftp://h"}, "url"),
        ({**WEB, "url": "https://user:secret@h/dicom-web"}, "url"),
        ({**WEB, "compression": "jpeg-ls"}, "compression"),
        ({**DIMSE, "compression": "gzip"}, "compression"),
        ({**DIMSE, "name": "a/b"}, "name"),
        ({**DIMSE, "name": ""}, "name"),
        ({**DIMSE, "find": "study"}, "find"),
        ({**DIMSE, "tls": {"cert": "c.pem"}}, "tls.cert"),
    ],
)
def test_what_is_missing_or_does_not_belong_is_named(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Destination.model_validate(wrong)
    assert key in {".".join(map(str, error["loc"])) for error in refused.value.errors()}


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(ValidationError) as refused:
        Destination.model_validate({**WEB, "url": "https://user:secret@h"})
    assert all("secret" not in error["msg"] for error in refused.value.errors())
