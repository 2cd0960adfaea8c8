"""A series is turned away by its header for one named reason, with the tag that decided."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, MRImageStorage, SecondaryCaptureImageStorage

from neurotriage.core.values import ReasonCode, SeriesVerdict
from tests.eligibility.rule import RULE
from tests.imaging.made import ct_slice_of, picture, slice_of, study_in
from worker.selection import choose

pytestmark = pytest.mark.unit


def _verdict(folder: Path, make: Any = slice_of, slices: int = 6, **attributes: Any) -> SeriesVerdict:
    datasets = [make(picture(), number, **attributes) for number in range(1, slices + 1)]
    (verdict,) = choose(study_in(folder, datasets), RULE).verdicts
    return verdict


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        (
            {"Manufacturer": "neurotriage", "SOPClassUID": SecondaryCaptureImageStorage},
            ReasonCode.OWN_RESULT,
        ),
        ({"Modality": "PT"}, ReasonCode.OTHER_MODALITY),
        ({"Modality": None}, ReasonCode.OTHER_MODALITY),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, ReasonCode.SECONDARY_CAPTURE),
        ({"SOPClassUID": BasicTextSRStorage}, ReasonCode.NOT_AN_IMAGE),
        ({"Modality": "CT"}, ReasonCode.NOT_AN_IMAGE),
        ({"PixelData": None}, ReasonCode.NO_PIXELS),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ReasonCode.COLOUR),
        ({"PatientSpeciesDescription": "CANINE"}, ReasonCode.NOT_A_HUMAN),
        ({"SeriesDescription": "T1 ACR Phantom"}, ReasonCode.NOT_A_HUMAN),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ReasonCode.LOCALIZER),
        ({"SeriesDescription": "3-PLANE LOC"}, ReasonCode.LOCALIZER),
        ({"SeriesDescription": "AAHead_Scout"}, ReasonCode.LOCALIZER),
        ({"SeriesDescription": "Survey_MST"}, ReasonCode.LOCALIZER),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, ReasonCode.MOSAIC),
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]}, ReasonCode.PERFUSION),
        ({"SeriesDescription": "relCBV"}, ReasonCode.PERFUSION),
        ({"SeriesDescription": "pcasl_3d_tra"}, ReasonCode.PERFUSION),
        ({"DiffusionBValue": 1000.0}, ReasonCode.DIFFUSION),
        ({"ImageType": ["DERIVED", "PRIMARY", "M", "ADC"]}, ReasonCode.DIFFUSION),
        ({"SeriesDescription": "DT_HIGH_32DIR"}, ReasonCode.DIFFUSION),
        ({"SeriesDescription": "ep2d_diff_3scan_trace_p2"}, ReasonCode.DIFFUSION),
        ({"SeriesDescription": "Ax DWI b1000"}, ReasonCode.DIFFUSION),
        ({"SequenceName": "*ep_b1000t"}, ReasonCode.DIFFUSION),
        ({"SeriesDescription": "resting state fMRI"}, ReasonCode.FUNCTIONAL),
        ({"AngioFlag": "Y"}, ReasonCode.ANGIOGRAPHY),
        ({"SeriesDescription": "TOF_3D_multi-slab"}, ReasonCode.ANGIOGRAPHY),
        ({"SeriesDescription": "Angio 3D"}, ReasonCode.ANGIOGRAPHY),
        ({"SeriesDescription": "gre_field_mapping"}, ReasonCode.FIELD_MAP),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, ReasonCode.FIELD_MAP),
        ({"SeriesDescription": "SWI Phase"}, ReasonCode.FIELD_MAP),
        ({"SeriesDescription": "<MIP Range>"}, ReasonCode.DERIVED),
        ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, ReasonCode.DERIVED),
        ({"BodyPartExamined": "KNEE"}, ReasonCode.OTHER_BODY_PART),
        ({"StudyDescription": "IRM DU RACHIS LOMBAIRE"}, ReasonCode.OTHER_BODY_PART),
        ({"StudyDescription": "MRT HWS"}, ReasonCode.OTHER_BODY_PART),
        ({"BodyPartExamined": "BRAIN", "SeriesDescription": "T2 C-SPINE SAG"}, ReasonCode.OTHER_BODY_PART),
        ({"ImageOrientationPatient": None}, ReasonCode.NO_GEOMETRY),
        ({"ImagePositionPatient": None}, ReasonCode.NO_GEOMETRY),
    ],
)
def test_an_mr_series_is_refused(tmp_path: Path, attributes: dict[str, Any], code: ReasonCode) -> None:
    verdict = _verdict(tmp_path, **attributes)
    assert (verdict.taken, verdict.reason.code) == (False, code)
    assert verdict.reason.text
    assert verdict.evidence


@pytest.mark.parametrize(
    "attributes",
    [
        {"BodyPartExamined": "BRAIN"},
        {"StudyDescription": "IRM cérébrale, neuro-crâne", "SpecificCharacterSet": "ISO_IR 100"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"], "SeriesDescription": "FSE PD AXIAL OBL"},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR", "CSA MPR"], "SeriesDescription": "T1 MPRAGE tra"},
        {"SeriesDescription": "T2W/FE-EPI", "ScanningSequence": "GR"},
        {"SeriesDescription": "AX T1 SPIN ECHO"},
        {"SeriesDescription": "AX T1 POST GAD HEMANGIOMA"},
        {"SeriesDescription": "3D DIR 3D"},
        {"ProtocolName": "Intravenous contrast T1"},
        {"DiffusionBValue": 0.0, "SeriesDescription": "CS_2_T1 3D Tra"},
        {"BodyPartExamined": "NECK", "SeriesDescription": "HEAD T1"},
        {"SeriesDescription": "T2 hippocampus cor"},
        {"SeriesDescription": "AX T1 POST GD DELAYED PHASE"},
        {"SeriesDescription": "T1 Dixon in-phase"},
        {"SeriesDescription": "T1 VIBE_DIXON_OPP"},
        {"SeriesDescription": "AX T1 InPhase"},
        {"SeriesDescription": "Ax T1 Out of Phase"},
        {"SeriesDescription": "T1 POST VENOUS PHASE"},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"ImagesInAcquisition": 196},
        {},
    ],
)
def test_an_ordinary_mr_series_is_taken(tmp_path: Path, attributes: dict[str, Any]) -> None:
    verdict = _verdict(tmp_path, **attributes)
    assert verdict.taken, verdict


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({}, ReasonCode.ELIGIBLE),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, ReasonCode.ELIGIBLE),
        ({"SeriesDescription": "Head 5.0", "ProtocolName": "Head perfusion and CTA"}, ReasonCode.ELIGIBLE),
        ({"SeriesDescription": "HEAD LOW DOSE"}, ReasonCode.ELIGIBLE),
        ({"RescaleIntercept": None}, ReasonCode.NO_CALIBRATION),
        ({"SeriesDescription": " Head 0.5 CE Axial 4D-Vol."}, ReasonCode.PERFUSION),
        ({"SeriesDescription": "CTA Head 0.625"}, ReasonCode.ANGIOGRAPHY),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ReasonCode.LOCALIZER),
        ({"BodyPartExamined": "CHEST"}, ReasonCode.OTHER_BODY_PART),
        ({"SOPClassUID": MRImageStorage}, ReasonCode.NOT_AN_IMAGE),
    ],
)
def test_a_ct_series_is_judged(tmp_path: Path, attributes: dict[str, Any], code: ReasonCode) -> None:
    assert _verdict(tmp_path, ct_slice_of, **attributes).reason.code is code


@pytest.mark.parametrize("where", ["Manufacturer", "ContributingEquipmentSequence"])
def test_a_scanners_image_is_analysed_whatever_it_says_of_its_maker(tmp_path: Path, where: str) -> None:
    device = Dataset()
    device.Manufacturer = "neurotriage"
    stated = {"Manufacturer": "neurotriage", "ContributingEquipmentSequence": Sequence([device])}[where]
    assert _verdict(tmp_path, **{where: stated}).taken


def test_a_stack_repeated_in_time_is_functional(tmp_path: Path) -> None:
    datasets = []
    for time in range(3):
        for place in range(1, 6):
            dataset = slice_of(picture(), time * 5 + place)
            dataset.ImagePositionPatient = [0.0, 0.0, 4.0 * place]
            datasets.append(dataset)
    (verdict,) = choose(study_in(tmp_path, datasets), RULE).verdicts
    assert verdict.reason.code is ReasonCode.FUNCTIONAL
    assert verdict.evidence.startswith("15 images at 5 places")


def test_a_stack_sent_with_and_without_normalization_is_taken(tmp_path: Path) -> None:
    datasets = []
    for copy in range(2):
        for place in range(1, 6):
            dataset = slice_of(picture(seed=copy), copy * 5 + place)
            dataset.ImagePositionPatient = [0.0, 0.0, 4.0 * place]
            datasets.append(dataset)
    (verdict,) = choose(study_in(tmp_path, datasets), RULE).verdicts
    assert verdict.taken


@pytest.mark.parametrize(
    ("attributes", "meant"),
    [
        ({"BodyPartExamined": "HEAD"}, True),
        ({"StudyDescription": "MRT Schädel"}, True),
        ({"StudyDescription": "RM DE CRÂNIO"}, True),
        ({"StudyDescription": "RMN CEREBRAL"}, True),
        ({"StudyDescription": "МРТ головного мозга", "SpecificCharacterSet": "ISO_IR 192"}, True),
        ({"StudyDescription": "頭部MRI", "SpecificCharacterSet": "ISO_IR 192"}, True),
        ({"BodyPartExamined": "HEAD", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, True),
        ({}, False),
        ({"BodyPartExamined": "KNEE"}, False),
        ({"BodyPartExamined": "HEAD", "Modality": "PT"}, False),
    ],
)
def test_a_head_is_meant_only_where_a_header_says_so(
    tmp_path: Path, attributes: dict[str, Any], meant: bool
) -> None:
    assert _verdict(tmp_path, **attributes).head_meant is meant
