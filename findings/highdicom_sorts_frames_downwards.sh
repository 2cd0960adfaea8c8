#!/usr/bin/env bash
# highdicom 0.28.2, pydicom 3.0.2.
#
# Expected by most: the frames of a ParametricMap or Segmentation stand in the order in which the pixel array
# and its source images were handed over, or, if sorted, along the patient's axis (ascending positions).
# Seen: whatever the order given, axial frames are written from the highest position to the lowest. The object
# is valid and each frame's position is right, but a reader that pours frames into a volume in file order
# shows them mirrored along the slice axis, and a test that compares frame n with slice n compares others.
#
# Exits 0 while that holds, 1 when it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install -q --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2

"$folder/env/bin/python" - <<'PYTHON'
import sys

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

NEW = {
    "series_instance_uid": "2.25.5", "series_number": 2, "sop_instance_uid": "2.25.6", "instance_number": 1,
    "manufacturer": "made", "manufacturer_model_name": "up", "software_versions": "1", "device_serial_number": "1",
}


def slice_at(number: int) -> Dataset:
    """An axial MR slice of 8 x 8 pixels, 5 mm above the one before."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, f"2.25.{100 + number}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    image.PatientName, image.PatientID, image.Modality = "Made^Up", "1", "MR"
    for keyword in (
        "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
        "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer",
    ):
        setattr(image, keyword, "")
    image.SeriesNumber, image.InstanceNumber = 1, number + 1
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 5.0 * number], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [1, 1], 5
    image.Rows = image.Columns = 8
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = bytes(128)
    return image


def heights(dataset: Dataset) -> list[float]:
    frames = dataset.PerFrameFunctionalGroupsSequence
    return [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in frames]


def parametric_map(order: list[int]) -> list[float]:
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="1", lut_explanation="made up", unit=codes.UCUM.NoUnits, value_range=[0.0, 100.0],
        slope=1.0, intercept=0.0,
    )
    return heights(hd.pm.ParametricMap(
        source_images=[slice_at(number) for number in order],
        pixel_array=np.stack([np.full((8, 8), number, np.float32) for number in order]),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=1, window_width=2)],
        **NEW,
    ))


def segmentation(order: list[int]) -> list[float]:
    segment = hd.seg.SegmentDescription(
        1, "made up", codes.SCT.Tissue, codes.SCT.Brain, "AUTOMATIC",
        hd.AlgorithmIdentificationSequence("made up", codes.DCM.ArtificialIntelligence, "1"),
    )
    return heights(hd.seg.Segmentation(
        source_images=[slice_at(number) for number in order],
        pixel_array=np.ones((len(order), 8, 8), np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        **NEW,
    ))


orders = ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])
written = [make(order) for order in orders for make in (parametric_map, segmentation)]
print(f"handed over as slices {orders}, written at heights of {written[0]} mm in all cases")
sys.exit(any(found != [15.0, 10.0, 5.0, 0.0] for found in written))
PYTHON
