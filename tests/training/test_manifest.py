"""Manifests: any columns will do, unknown is None, and no patient is in two splits."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.data.manifest import SERIES_FILE, Manifest, grey_images, mask_of, read

pytestmark = pytest.mark.unit

SPLITS = ("train", "val", "test")
RECORDS = st.lists(
    st.fixed_dictionaries({
        "group": st.sampled_from(["p1", "p2", "p3", "p4", ""]),
        "split": st.sampled_from(SPLITS),
        "modality": st.sampled_from(["MR", "CT", ""]),
        "tumour": st.sampled_from(["0", "1", ""]),
    }),
    max_size=12,
)  # fmt: skip


def write(folder: Path, records: list[dict[str, str]]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]) if records else ["path"])
        writer.writeheader()
        writer.writerows(records)
    return path


def read_rows(folder: Path, records: list[dict[str, str]], modality: str = "MR") -> Manifest:
    return read(write(folder, records), modality)


@settings(max_examples=60, deadline=None)
@given(records=RECORDS, modality=st.sampled_from(["MR", "CT"]))
def test_a_manifest_that_is_read_has_each_patient_in_one_split(
    records: list[dict[str, str]], modality: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    named = [{"path": f"{number}.png", **record} for number, record in enumerate(records)]
    read_here = [record for record in named if record["modality"] in ("", modality)]
    pairs = {(record["group"] or record["path"], record["split"]) for record in read_here}
    straddles = len(pairs) > len({group for group, _ in pairs})
    folder = tmp_path_factory.mktemp("manifest")
    if straddles:
        with pytest.raises(ValueError, match="more than one split"):
            read_rows(folder, named, modality)
        return
    manifest = read_rows(folder, named, modality)
    assert len(manifest.rows) + manifest.skipped == len(named)
    groups = {split: {row.group for row in manifest.of_split(split)} for split in SPLITS}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))


def test_groups_of_another_modality_may_lie_in_another_split(tmp_path: Path) -> None:
    records = [
        {"path": "a.png", "group": "p", "split": "train", "modality": "MR"},
        {"path": "b.png", "group": "p", "split": "val", "modality": "CT"},
    ]
    assert [read_rows(tmp_path, records, m).rows[0].split for m in ("MR", "CT")] == ["train", "val"]


def test_splits_keep_the_order_of_the_file(tmp_path: Path) -> None:
    records = [{"path": f"{n}.png", "split": SPLITS[n % 2]} for n in range(7)]
    train = read_rows(tmp_path, records).of_split("train")
    assert [row.path.name for row in train] == ["0.png", "2.png", "4.png", "6.png"]


def test_the_path_alone_is_enough(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, [{"path": "a.png"}]).rows
    assert (row.path, row.mask, row.sequences) == (tmp_path / "a.png", None, ())
    assert (row.tumour, row.grade, row.death) == (None, None, None)
    assert (row.label, row.source, row.split, row.pair) == ("unknown", "unknown", "", "")
    assert row.group == row.series == "a.png", "without a group each picture is its own"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("0", False), ("", None), ("maybe", None)])
def test_flags_are_true_false_or_unknown(text: str, value: bool | None, tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, [{"path": "a.png", "tumour": text, "death": text}]).rows
    assert row.tumour is value
    assert row.death is value


def test_a_grade_is_a_number(tmp_path: Path) -> None:
    (row,) = read_rows(tmp_path, [{"path": "a.png", "grade": " 3 "}]).rows
    assert row.grade == 3
    with pytest.raises(ValueError, match="IV"):
        read_rows(tmp_path, [{"path": "a.png", "grade": "IV"}])


def test_a_finer_series_is_taken_from_the_file_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / SERIES_FILE).parent.mkdir()
    (tmp_path / SERIES_FILE).write_text("path,series\na.png,run 7\n", encoding="utf-8")
    rows = read_rows(tmp_path, [{"path": name, "group": "g"} for name in ("a.png", "b.png")]).rows
    assert [row.series for row in rows] == ["run 7", "g"]


def test_a_picture_in_colour_is_read_as_grey(tmp_path: Path) -> None:
    Image.new("RGB", (5, 3), (200, 200, 200)).save(tmp_path / "a.png")
    (row,) = read_rows(tmp_path, [{"path": "a.png", "sequence": "T1"}]).rows
    ((name, grey),) = grey_images(row)
    assert (name, grey.shape, grey.dtype) == ("T1", (3, 5), np.uint8)
    assert grey.max() == 200


def test_a_picture_of_no_known_sequence_has_a_name_all_the_same(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (row,) = read_rows(tmp_path, [{"path": "a.png"}]).rows
    assert [name for name, _ in grey_images(row)] == ["unknown"]


def test_channels_are_given_in_the_order_of_the_column(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (10, 20, 30)).save(tmp_path / "a.png")
    (row,) = read_rows(tmp_path, [{"path": "a.png", "sequence": "T1|FLAIR|T1C"}]).rows
    assert {name: int(grey[0, 0]) for name, grey in grey_images(row)} == {"T1": 10, "FLAIR": 20, "T1C": 30}


def test_a_mask_begins_at_half_of_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127], [128, 255]], np.uint8)).save(tmp_path / "m.png")
    (row,) = read_rows(tmp_path, [{"path": "a.png", "mask": "m.png"}]).rows
    mask = mask_of(row)
    assert mask is not None
    assert mask.tolist() == [[False, False], [True, True]]
