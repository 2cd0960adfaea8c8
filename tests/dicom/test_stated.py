"""Values that a site's rules ask for are read from whatever a header holds, and never raise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from neurotriage.dicom.attributes import items, stated
from neurotriage.dicom.headers import text
from neurotriage.dicom.peer_text import peer_text

pytestmark = pytest.mark.unit

TYPE, KERNEL, ECHO, REGION = 0x00080008, 0x00181210, 0x00180081, 0x00082218


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


def test_values_are_lines_of_text_and_absent_ones_are_none() -> None:
    header = _item(ImageType=["ORIGINAL", "", "M"], EchoTime="90.5", ConvolutionKernel="")
    assert stated(header, TYPE) == ("ORIGINAL", "M")
    assert stated(header, ECHO) == ("90.5",)
    assert stated(header, KERNEL) == ()
    assert stated(header, 0x00181030) == ()


def test_a_sequence_counts_its_items() -> None:
    assert stated(_item(AnatomicRegionSequence=Sequence([Dataset(), Dataset()])), REGION) == ("2 items",)
    assert stated(_item(AnatomicRegionSequence=Sequence([])), REGION) == ()


def test_functional_groups_answer_where_the_header_does_not() -> None:
    frames = [_item(MREchoSequence=Sequence([_item(EchoTime=value)])) for value in ("90", "10", "90")]
    header = _item(PerFrameFunctionalGroupsSequence=Sequence(frames))
    assert stated(header, ECHO) == ("10", "90")
    shared = _item(MREchoSequence=Sequence([_item(EchoTime="50")]))
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    assert stated(header, ECHO) == ("50",)
    header.EchoTime = "30"
    assert stated(header, ECHO) == ("30",)


@given(
    st.sampled_from(["DS", "IS", "US", "FD", "SQ", "UN", "PN", "DA", "AT", "OB", "ZZ", None]),
    st.binary(max_size=40),
    st.sampled_from([TYPE, KERNEL, ECHO, REGION, 0x0019100C]),
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_of_an_element_raise(vr: str | None, content: bytes, tag: int) -> None:
    header = Dataset()
    header._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(content), content, 0, vr is None, True)
    items(header, keyword_for_tag(tag) or "CTExposureSequence")
    text(header, keyword_for_tag(tag) or "CTExposureSequence")
    values = stated(header, tag)
    assert all(value and value == peer_text(value, 256) for value in values)
