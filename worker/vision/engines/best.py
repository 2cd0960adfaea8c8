"""The best engine of each network on this host, as measured; where nobody has, measured in a few seconds."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from worker.vision.engines.choice import MAX_DP, MAX_DP_INT8, Choice, read_choice, write_choice
from worker.vision.engines.eager import CUDA, TORCH
from worker.vision.engines.interface import Engine
from worker.vision.engines.measure import QUICK, Trial, choose
from worker.vision.engines.onnx import ONNX_INT8
from worker.vision.network import Network, SliceNet, members_of
from worker.vision.registry import ModelCard
from worker.vision.registry.self_check import drawn_slices, largest_dp


def usual_engine() -> str:
    """The engine that needs no measurement: CUDA where torch has a GPU, else torch, the reference."""
    return CUDA if torch.cuda.is_available() else TORCH


def best_engines(network: Network, card: ModelCard, folder: Path | None, threads: int) -> tuple[str, ...]:
    """The name of the engine of each member, by the choices kept in ``folder``.

    Where there is none for these weights on this host, the engines that need no file are measured briefly and
    the choice is kept; with a GPU or without a folder, ``usual_engine`` is taken. ``threads`` 0: all.
    """
    usual = (usual_engine(),) * len(card.networks)
    if folder is None:
        return usual
    choices = [read_choice(folder, part.sha256, threads) for part in card.networks]
    if None in choices and torch.cuda.is_available():
        return usual
    parts = zip(choices, members_of(network), card.networks, strict=True)
    chosen = [choice or _chosen_now(member, own, folder, threads) for choice, member, own in parts]
    return tuple(choice.engine for choice in chosen)


def exact_together(engine: Engine, names: Sequence[str], card: ModelCard) -> bool:
    """Whether members that were each found exact enough are so as an ensemble, by its stored answers."""
    if len(names) == 1 or all(name == TORCH for name in names):
        return True
    return largest_dp(engine, card) <= (MAX_DP_INT8 if ONNX_INT8 in names else MAX_DP)


def _chosen_now(network: SliceNet, card: ModelCard, folder: Path, threads: int) -> Choice:
    choice = choose(network, card, Trial(drawn_slices(card.input_px)), folder, threads, QUICK)
    if folder.parent.is_dir():
        with suppress(OSError):  # not ours to write: the next process measures again
            write_choice(folder, choice, threads)
    return choice
