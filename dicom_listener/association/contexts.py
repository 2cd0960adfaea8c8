"""The presentation contexts that the listener supports: verification, storage, storage commitment."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid

from neurotriage.dicom.commitment import PUSH_MODEL

VERIFICATION: Final = "1.2.840.10008.1.1"

# In our order of preference, for a context that proposes several.
_UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)

# Modules, any of which decodes the transfer syntax; RLE needs none. Deflated Explicit VR is never accepted:
# 1 MB on the wire can be 1 GB in memory.
_DECODERS: Final = {
    JPEGLosslessSV1: ("imagecodecs",),
    JPEGLossless: ("imagecodecs",),
    JPEGBaseline8Bit: ("imagecodecs", "PIL"),
    JPEGExtended12Bit: ("imagecodecs",),
    JPEGLSLossless: ("imagecodecs", "jpeg_ls"),
    JPEGLSNearLossless: ("imagecodecs", "jpeg_ls"),
    JPEG2000Lossless: ("openjpeg", "imagecodecs"),
    JPEG2000: ("openjpeg", "imagecodecs"),
    HTJ2KLossless: ("openjpeg",),
    HTJ2KLosslessRPCL: ("openjpeg",),
    HTJ2K: ("openjpeg",),
    RLELossless: (),
}

# Storage classes that a PACS still forwards with whole studies and that pynetdicom does not know: retired
# ones and those of security and of material testing (PS3.6 annex A), and private ones (conformance statements
# of Siemens and Philips MR). Objects of no patient (PS3.4 annex GG) belong to no study and are not taken.
_OTHER_STORAGE: Final = {
    "1.2.840.10008.5.1.1.27": "StoredPrintStorage",
    "1.2.840.10008.5.1.1.29": "HardcopyGrayscaleImageStorage",
    "1.2.840.10008.5.1.1.30": "HardcopyColorImageStorage",
    "1.2.840.10008.5.1.4.1.1.3": "UltrasoundMultiFrameImageStorageRetired",
    "1.2.840.10008.5.1.4.1.1.5": "NuclearMedicineImageStorageRetired",
    "1.2.840.10008.5.1.4.1.1.6": "UltrasoundImageStorageRetired",
    "1.2.840.10008.5.1.4.1.1.8": "StandaloneOverlayStorage",
    "1.2.840.10008.5.1.4.1.1.9": "StandaloneCurveStorage",
    "1.2.840.10008.5.1.4.1.1.9.1": "WaveformStorageTrial",
    "1.2.840.10008.5.1.4.1.1.10": "StandaloneModalityLUTStorage",
    "1.2.840.10008.5.1.4.1.1.11": "StandaloneVOILUTStorage",
    "1.2.840.10008.5.1.4.1.1.12.3": "XRayAngiographicBiPlaneImageStorage",
    "1.2.840.10008.5.1.4.1.1.129": "StandalonePETCurveStorage",
    "1.2.840.10008.5.1.4.1.1.77.1": "VLImageStorageTrial",
    "1.2.840.10008.5.1.4.1.1.77.2": "VLMultiFrameImageStorageTrial",
    "1.2.840.10008.5.1.4.1.1.88.1": "TextSRStorageTrial",
    "1.2.840.10008.5.1.4.1.1.88.2": "AudioSRStorageTrial",
    "1.2.840.10008.5.1.4.1.1.88.3": "DetailSRStorageTrial",
    "1.2.840.10008.5.1.4.1.1.88.4": "ComprehensiveSRStorageTrial",
    "1.2.840.10008.5.1.4.1.1.501.1": "DICOSCTImageStorage",
    "1.2.840.10008.5.1.4.1.1.501.2.1": "DICOSDigitalXRayImageStorageForPresentation",
    "1.2.840.10008.5.1.4.1.1.501.2.2": "DICOSDigitalXRayImageStorageForProcessing",
    "1.2.840.10008.5.1.4.1.1.501.3": "DICOSThreatDetectionReportStorage",
    "1.2.840.10008.5.1.4.1.1.501.4": "DICOS2DAITStorage",
    "1.2.840.10008.5.1.4.1.1.501.5": "DICOS3DAITStorage",
    "1.2.840.10008.5.1.4.1.1.501.6": "DICOSQuadrupoleResonanceStorage",
    "1.2.840.10008.5.1.4.1.1.601.1": "EddyCurrentImageStorage",
    "1.2.840.10008.5.1.4.1.1.601.2": "EddyCurrentMultiFrameImageStorage",
    "1.2.840.10008.5.1.4.34.1": "RTBeamsDeliveryInstructionStorageTrial",
    "1.3.12.2.1107.5.9.1": "SiemensCSANonImageStorage",
    "1.3.46.670589.11.0.0.12.1": "PhilipsPrivateMRSpectrumStorage",
    "1.3.46.670589.11.0.0.12.2": "PhilipsPrivateMRSeriesDataStorage",
    "1.3.46.670589.11.0.0.12.3": "PhilipsPrivateMRColorImageStorage",
    "1.3.46.670589.11.0.0.12.4": "PhilipsPrivateMRExamcardStorage",
}
for _uid, _keyword in _OTHER_STORAGE.items():
    register_uid(_uid, _keyword, StorageServiceClass)


def transfer_syntaxes() -> list[str]:
    """Transfer syntaxes that can be decoded here, in the order of preference."""
    compressed = (
        syntax
        for syntax, modules in _DECODERS.items()
        if not modules or any(find_spec(module) is not None for module in modules)
    )
    return [*_UNCOMPRESSED, *compressed]


def supported_contexts(*, commits: bool = False) -> list[PresentationContext]:
    """Verification, storage commitment, and every storage SOP class in each of ``transfer_syntaxes``.

    ``commits``: whether we provide storage commitment ourselves, beside taking the reports of archives.
    """
    syntaxes: Sequence[str] = transfer_syntaxes()
    storage = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    contexts = [build_context(uid, list(syntaxes)) for uid in (*storage, *_OTHER_STORAGE)]
    commitment = build_context(PUSH_MODEL, list(_UNCOMPRESSED[:2]))
    # An archive that reports on an association of its own proposes the SCP role (PS3.4 J.3.3, PS3.7 D.3.3.4).
    commitment.scu_role, commitment.scp_role = commits, True
    return [build_context(VERIFICATION, list(_UNCOMPRESSED)), commitment, *contexts]
