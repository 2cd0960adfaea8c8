"""Run by the readers' own Python: what Python readers make of the objects in a folder, as JSON."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom2nifti
import gdcm
import highdicom
import nibabel
import SimpleITK

folder = Path(sys.argv[1])


def by_simpleitk(file: Path) -> Any:
    pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    return {"shape": list(pixels.shape), "marked": int((pixels > 0).sum()), "highest": float(pixels.max())}


def by_gdcm(file: Path) -> Any:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    if not reader.Read():
        raise ValueError("gdcm does not read it")
    return "read"


def by_highdicom(file: Path) -> Any:
    return int(highdicom.seg.segread(file).get_volume(combine_segments=True).array.astype(bool).sum())


def by_dicom2nifti(file: Path) -> Any:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "in").mkdir()
        shutil.copy(file, Path(place) / "in")
        dicom2nifti.dicom_series_to_nifti(f"{place}/in", f"{place}/out.nii.gz")
        return int((nibabel.load(f"{place}/out.nii.gz").get_fdata() > 0).sum())


READERS: dict[str, Callable[[Path], Any]] = {
    "SimpleITK": by_simpleitk,
    "GDCM": by_gdcm,
    "highdicom": by_highdicom,
    "dicom2nifti": by_dicom2nifti,
}


def seen(read: Callable[[Path], Any], file: Path) -> Any:
    try:
        return read(file)
    except Exception as error:  # noqa: BLE001 - what a reader cannot do is an answer
        return f"refused: {type(error).__name__}"


kinds = {file.stem.rpartition("-")[0]: file for file in sorted(folder.glob("*-000.dcm"))}
print(
    json.dumps(
        {name: {kind: seen(read, file) for kind, file in kinds.items()} for name, read in READERS.items()}
    )
)
