"""A study is the same in whatever order its instances came."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurotriage.core.values import ManifestInstance
from neurotriage.dicom.headers import InstanceHeader, describe
from neurotriage.dicom.manifest import ListedInstance, manifest_of, series_of
from tests.core.made import instance

pytestmark = pytest.mark.unit

_HEADER = describe(instance(), Path("unused"), "")
_UIDS = st.integers(1, 30).map(lambda number: f"1.2.{number}")
# Devices make numbers of dates, and some write none or the same one twice.
_NUMBERS = st.none() | st.integers(-3, 3) | st.integers(0, 2**63 - 1)


def _header(place: int, series_instance_uid: str, number: int | None) -> InstanceHeader:
    return replace(
        _HEADER,
        sop_instance_uid=f"2.25.{place}" if place % 4 else "",  # some files have none
        digest=f"{place:064x}",
        series_instance_uid=series_instance_uid,
        instance_number=number,
    )


def _headers(series: Sequence[tuple[str, int | None]]) -> list[InstanceHeader]:
    return [_header(place, uid, number) for place, (uid, number) in enumerate(series)]


@st.composite
def _two_orders(draw: st.DrawFn) -> tuple[list[InstanceHeader], list[InstanceHeader]]:
    headers = _headers(draw(st.lists(st.tuples(_UIDS, _NUMBERS), min_size=1, max_size=12)))
    return headers, draw(st.permutations(headers))


@settings(deadline=None, max_examples=60)
@given(_two_orders())
def test_the_order_of_arrival_changes_neither_manifest_nor_digest(
    orders: tuple[list[InstanceHeader], list[InstanceHeader]],
) -> None:
    first, second = (manifest_of(headers, revision=1, completed_by="quiet") for headers in orders)
    assert first == second
    assert first.digest == second.digest


@settings(deadline=None, max_examples=60)
@given(_two_orders(), st.data())
def test_another_byte_or_a_missing_instance_changes_the_digest(
    orders: tuple[list[InstanceHeader], list[InstanceHeader]], data: st.DataObject
) -> None:
    headers, _ = orders
    place = data.draw(st.integers(0, len(headers) - 1))
    other = replace(headers[place], digest="f" * 64)
    changed = [*headers[:place], other, *headers[place + 1 :]]
    fewer = [*headers[:place], *headers[place + 1 :], _header(99, "1.2.1", 1)]
    digests = {
        manifest_of(case, revision=1, completed_by="quiet").digest for case in (headers, changed, fewer)
    }
    assert len(digests) == 3


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(_UIDS, _NUMBERS), max_size=12))
def test_series_hold_every_instance_once_by_number_those_without_last(
    series: list[tuple[str, int | None]],
) -> None:
    listed = [
        ListedInstance(uid, "MR", number, ManifestInstance(f"2.25.{place}", "", Path(str(place)), "0"))
        for place, (uid, number) in enumerate(series)
    ]
    numbers = {member.instance: member.instance_number for member in listed}
    groups = series_of(listed)
    uids = [group.series_instance_uid for group in groups]
    assert uids == sorted({uid for uid, _ in series})
    assert sorted(i.path.name for group in groups for i in group.instances) == sorted(
        member.instance.path.name for member in listed
    )
    for group in groups:
        given_numbers = [numbers[instance] for instance in group.instances]
        stated = [number for number in given_numbers if number is not None]
        assert given_numbers == sorted(stated) + [None] * (len(given_numbers) - len(stated))
