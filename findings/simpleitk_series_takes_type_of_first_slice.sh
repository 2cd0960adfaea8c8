#!/usr/bin/env bash
# SimpleITK 2.5.2 (ITK with GDCM), pydicom 3.0.2.
#
# Expected by most: a series whose slices have rescale slopes of their own (PET, MR of some makers, CT after
# some archives) is read in a type that holds all of its values.
# Seen: ImageSeriesReader takes the pixel type from the first slice. Where that has slope 1 the series is read
# as 16-bit integers, and fractions of all later slices are cut off, with no warning: 62.25 becomes 62. Each
# of those slices read alone is 62.25.
#
# Exits 0 while that holds, 1 when it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install -q --disable-pip-version-check SimpleITK==2.5.2 pydicom==3.0.2 numpy==2.4.6

"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def write(path: Path, number: int, stored: int, slope: float, intercept: float) -> None:
    """One slice of 8 x 8 equal pixels, ``number`` mm along the patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"2.25.{100 + number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"2.25.{100 + number}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    image.PatientName, image.PatientID, image.Modality = "Made^Up", "1", "CT"
    image.ImageType, image.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [1, 1], 1
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = 8
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, intercept, "HU"
    image.PixelData = np.full((8, 8), stored, "<u2").tobytes()
    image.save_as(path, enforce_file_format=True)


series = Path(sys.argv[1]) / "series"
series.mkdir()
write(series / "0.dcm", 0, 1024, 1, -1024)
for number in (1, 2, 3):
    write(series / f"{number}.dcm", number, 1125, 0.5, -500.25)
reader = SimpleITK.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
together = SimpleITK.GetArrayFromImage(reader.Execute())[:, 0, 0].tolist()
alone = [float(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).flat[0]) for path in sorted(series.iterdir())]
print(f"as a series: {together}; one by one: {alone}")
sys.exit(together != [0, 62, 62, 62] or alone != [0.0, 62.25, 62.25, 62.25])
PYTHON
