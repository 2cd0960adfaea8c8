"""The models that can be trained: whose images they see, and which network sees them."""

from dataclasses import dataclass

from worker.vision.network import EFFICIENTNET_LITE0, MOBILENET_V2, RESNET50


@dataclass(frozen=True, slots=True)
class Subject:
    """One model of the registry, before it has weights."""

    modality: str
    architecture: str


INPUT_PX_KEY = "input_px"  # in the metadata of a run's weights

MODELS = {
    "mr-teacher": Subject("MR", EFFICIENTNET_LITE0),
    "ct-teacher": Subject("CT", EFFICIENTNET_LITE0),
    "mr-classifier": Subject("MR", RESNET50),
    "ct-detector": Subject("CT", RESNET50),
    "light": Subject("MR", MOBILENET_V2),
    "ct-light": Subject("CT", MOBILENET_V2),
}
