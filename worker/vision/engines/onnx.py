"""ONNX Runtime as an engine. Its files are made on the host from the network, never shipped.

Needs the extra ``engines``. Int8 is static quantisation (Jacob et al., CVPR 2018), per channel, in the QDQ
format, of everything but the heads; it needs real slices to calibrate the range of each map.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurotriage.core.storage import atomic_write
from worker.vision.engines.interface import EngineUnavailable
from worker.vision.network import Network, SliceOutputs
from worker.vision.network.fusion import MODALITIES, FusionNet, FusionOutputs, channels_of

ONNX, ONNX_INT8 = "onnxruntime", "onnxruntime-int8"
INPUT = "slices"
QUANTISED = ["Conv", "Add", "Clip", "Relu", "MaxPool", "Resize"]  # not the heads' matrix products
CALIBRATION_BATCH = 8


def export_onnx(network: Network, input_px: int, path: Path) -> None:
    """Write a network as one ONNX file: ``slices`` (N, 1, S, S) to the fields of ``SliceOutputs``.

    Raises ``EngineUnavailable`` where the packages for it are missing.
    """
    _export(network, {INPUT: torch.zeros(2, 1, input_px, input_px)}, SliceOutputs._fields, path)


def export_fusion_onnx(network: FusionNet, path: Path) -> None:
    """Write the fusion: ``ct`` and ``mr`` (N, C), ``given`` (N, 2) to the fields of ``FusionOutputs``.

    The C channels are ``pooled`` and ``deepest`` of the slice network, concatenated. Raises
    ``EngineUnavailable`` where the packages for it are missing.
    """
    shapes = zip(MODALITIES, network.architectures, strict=True)
    inputs = {modality.lower(): torch.zeros(2, sum(channels_of(name))) for modality, name in shapes}
    _export(network, inputs | {"given": torch.ones(2, 2, dtype=torch.bool)}, FusionOutputs._fields, path)


def _export(
    network: torch.nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path
) -> None:
    """Export with a dynamic first axis of every input."""
    _needed("onnx", "onnxscript")
    rows = torch.export.Dim("rows")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.cpu().eval(),
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple({0: rows} for _ in inputs),
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise EngineUnavailable("the network could not be exported to ONNX")
    with atomic_write(path, durable=False, private=False) as temporary:
        program.save(temporary, external_data=False)


def quantise(path: Path, slices: NDArray[np.float32], target: Path) -> None:
    """Write an int8 version of an ONNX file, calibrated on ``slices`` (N, 1, S, S).

    Raises ``EngineUnavailable`` where the packages for it are missing.
    """
    _needed("onnx", "onnxruntime")
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.starts = iter(range(0, len(slices), CALIBRATION_BATCH))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            start = next(self.starts, None)
            return None if start is None else {INPUT: slices[start : start + CALIBRATION_BATCH]}

    with _quiet(), atomic_write(target, durable=False, private=False) as temporary:
        quantize_static(
            path,
            temporary,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=QUANTISED,
        )


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    device = "cpu"

    def __init__(self, name: str, path: Path, threads: int) -> None:
        """``threads``: 0 leaves the number to ONNX Runtime. Raises ``EngineUnavailable``."""
        _needed("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineUnavailable(f"ONNX Runtime cannot use {path}: {error}") from error
        self.name = name

    def __call__(self, slices: Tensor) -> SliceOutputs:
        answers: Sequence[NDArray[np.float32]] = self.session.run(
            list(SliceOutputs._fields), {INPUT: slices.numpy()}
        )
        return SliceOutputs(*(torch.from_numpy(array) for array in answers))


def _needed(*packages: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise EngineUnavailable(f"{' and '.join(missing)} not installed: pip install 'neurotriage[engines]'")


@contextmanager
def _quiet() -> Any:
    """Suppress the exporter's log messages and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)
