"""Until when certificates hold, and what is said of files that hold none that can be read."""

from base64 import encodebytes
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dicom_listener.admission.certificates import TestAuthority
from neurotriage.core.certificates import expiries
from neurotriage.core.settings import ConfigurationError

pytestmark = pytest.mark.unit

_COMMON_NAME = b"\x06\x03\x55\x04\x03"  # its OID; type and length of the text follow


def _of_version_2(der: bytes) -> bytes:
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)


def _with_a_subject_that_is_no_utf_8(der: bytes) -> bytes:
    text = der.rindex(_COMMON_NAME) + len(_COMMON_NAME) + 2
    return der[:text] + b"\xff" + der[text + 1 :]


@pytest.mark.parametrize("odd", [_of_version_2, _with_a_subject_that_is_no_utf_8])
def test_a_certificate_that_cannot_be_read_is_an_error_that_names_its_file(
    tmp_path: Path, odd: Callable[[bytes], bytes]
) -> None:
    file = TestAuthority(tmp_path).pair("ours", ["127.0.0.1"]).certificate
    (whole,) = x509.load_pem_x509_certificates(file.read_bytes())
    assert len(expiries(file)) == 1
    der = odd(whole.public_bytes(Encoding.DER))
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der) + b"-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigurationError, match=r"ours.*no certificate in PEM form"):
        expiries(file)
