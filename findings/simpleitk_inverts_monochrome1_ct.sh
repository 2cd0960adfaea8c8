#!/usr/bin/env bash
# SimpleITK 2.5.2 (ITK with GDCM), pydicom 3.0.2.
#
# Expected by most: MONOCHROME1 says how pixels are displayed (PS3.3 C.7.6.3.1.2). A CT value is the stored
# value times Rescale Slope plus Rescale Intercept (C.11.1) whatever the photometric interpretation, so a
# stored 1124 with slope 1 and intercept -1024 is 100 HU.
# Seen: the stored values are inverted within Bits Stored first (4095 - 1124), then rescaled: 1947 HU, with no
# warning. The same file as MONOCHROME2 reads as 100 HU.
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


def ct(path: Path, photometric: str) -> Path:
    """A CT image of 8 x 8 pixels, all stored as 1124, 12 bit unsigned."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "2.25.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.4"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    image.PatientName, image.PatientID, image.Modality = "Made^Up", "1", "CT"
    image.ImageType, image.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [1, 1], 1
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, photometric
    image.Rows = image.Columns = 8
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
    image.PixelData = np.full((8, 8), 1124, "<u2").tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


read = {
    photometric: float(
        SimpleITK.GetArrayFromImage(
            SimpleITK.ReadImage(str(ct(Path(sys.argv[1]) / f"{photometric}.dcm", photometric)))
        ).flat[0]
    )
    for photometric in ("MONOCHROME1", "MONOCHROME2")
}
print(f"true 100 HU; read: {read}")
sys.exit(read != {"MONOCHROME1": 1947.0, "MONOCHROME2": 100.0})
PYTHON
