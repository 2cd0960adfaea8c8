"""The slice network, its architectures, and ensembles of them."""

from worker.vision.network.encoders import TOP_CHANNELS
from worker.vision.network.ensemble import Ensemble, MemberMaps, Network, member_maps, members_of
from worker.vision.network.layers import GREY_MEAN, GREY_STD
from worker.vision.network.slice_net import (
    ARCHITECTURES,
    CLASSES,
    CLASSES_OF,
    CT_CLASSES,
    EFFICIENTNET_LITE0,
    MOBILENET_V2,
    RESNET50,
    SliceNet,
    SliceOutputs,
    grad_cam,
)

FEATURE_CHANNELS = ARCHITECTURES[EFFICIENTNET_LITE0].feature_channels

__all__ = [
    "ARCHITECTURES",
    "CLASSES",
    "CLASSES_OF",
    "CT_CLASSES",
    "EFFICIENTNET_LITE0",
    "FEATURE_CHANNELS",
    "GREY_MEAN",
    "GREY_STD",
    "MOBILENET_V2",
    "RESNET50",
    "TOP_CHANNELS",
    "Ensemble",
    "MemberMaps",
    "Network",
    "SliceNet",
    "SliceOutputs",
    "grad_cam",
    "member_maps",
    "members_of",
]
