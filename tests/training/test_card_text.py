"""The parts that model cards share: tables, layout, and the check of what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.__main__ import main
from training.release.card import TARGETS, figure_at
from training.release.card_text import (
    BEGINNINGS,
    NETWORKS,
    CardText,
    beginnings,
    calibration_text,
    check_measured_on,
    networks_text,
    table,
    thresholds_text,
    write_card,
)
from training.release.ensemble import table as comparison
from training.release.export import as_row
from worker.vision.network import ARCHITECTURES, CLASSES, MOBILENET_V2, RESNET50
from worker.vision.registry import ModelCard
from worker.vision.registry.cards import ENSEMBLE

pytestmark = pytest.mark.unit

CARD = ModelCard(
    name="light",
    version="2",
    file="light.safetensors",
    sha256="ab",
    modality="MR",
    input_px=64,
    temperature=1.25,
    thresholds={"tumour": 0.4, "mask": 0.45},
    classes=CLASSES,
)
LIGHT = replace(CARD, architecture=MOBILENET_V2)
LARGE = replace(CARD, name="large", file="large.safetensors", architecture=RESNET50)

TEXT = CardText("light 2", ["First.", "Second."], ["## Figures", "", "0.9", ""], "- None known.\n")


def test_a_card_has_its_parts_in_order() -> None:
    data = table(("source", "licence"), [("a", "MIT")])
    assert replace(TEXT, data=data).markdown() == (
        "# Model card: light 2\n\nFirst.\n\nSecond.\n\n## Figures\n\n0.9\n\n## Data and licences\n\n"
        "| source | licence |\n| --- | --- |\n| a | MIT |\n\n## Limits\n\n- None known.\n"
    )


def test_a_card_without_data_of_its_own_says_nothing_of_licences() -> None:
    assert "Data and licences" not in TEXT.markdown()
    assert TEXT.markdown().endswith("0.9\n\n## Limits\n\n- None known.\n")


def test_an_empty_heading_is_a_cell_all_the_same() -> None:
    assert table(("aim", ""), [("a", "met")]) == ["| aim | |", "| --- | --- |", "| a | met |", ""]


def test_a_table_without_rows_has_its_heading() -> None:
    assert table(("a", "b"), []) == ["| a | b |", "| --- | --- |", ""]


def test_figures_of_other_weights_are_no_figures_of_a_card() -> None:
    check_measured_on("ab", [{"sha256": "ab"}, {"sha256": "ab"}])
    with pytest.raises(SystemExit, match="other weights"):
        check_measured_on("ab", [{"sha256": "ab"}, {"sha256": "cd"}])


def test_a_card_lies_beside_the_weights(tmp_path: Path) -> None:
    write_card("light", TEXT, tmp_path)
    assert (tmp_path / "light.md").read_text(encoding="utf-8") == TEXT.markdown()


def test_every_architecture_has_a_sentence_and_a_beginning() -> None:
    assert set(NETWORKS) == set(BEGINNINGS) == set(ARCHITECTURES)


def test_members_that_began_alike_are_credited_once() -> None:
    credited = beginnings([LIGHT, replace(LIGHT, name="other"), LARGE])
    assert [package for package, _, _ in credited] == [BEGINNINGS[a][0] for a in (MOBILENET_V2, RESNET50)]


def test_a_network_is_named_by_its_architecture_and_an_ensemble_by_its_members() -> None:
    assert networks_text(LIGHT, [LIGHT]) == NETWORKS[MOBILENET_V2]
    both = replace(CARD, name="mr", architecture=ENSEMBLE, members=(LIGHT, LARGE))
    text = networks_text(both, [LIGHT, LARGE])
    assert "mean of the logits of 2 networks: " in text
    assert "`light` 2 (MobileNetV2" in text
    assert "mirrored" not in text
    assert "as it is and mirrored" in networks_text(replace(both, mirrored=True), [LIGHT, LARGE])


def test_thresholds_are_written_in_their_order_and_without_zeros() -> None:
    assert thresholds_text({"tumour": 0.4, "look_alike": 0.25, "mask": 0.45}) == (
        "tumour 0.4, look_alike 0.25, mask 0.45"
    )
    assert calibration_text(CARD).startswith(
        "Temperature 1.25; thresholds fixed on val: tumour 0.4, mask 0.45."
    )


def test_a_figure_is_found_by_its_path_or_is_none() -> None:
    figures = {"tumour": {"auc_roc": {"value": 0.9}, "f1": None}}
    assert figure_at(figures, "tumour/auc_roc/value") == 0.9
    assert figure_at(figures, "tumour/f1/value") is None
    assert figure_at(figures, "tumour/kappa") is None


def test_models_are_compared_line_by_line() -> None:
    models = {"light": {"AUC": 0.91234, "Dice": None}, "a long name": {"AUC": 1.0, "Dice": 0.5}}
    head, auc, dice = comparison(models).splitlines()
    assert head.split(maxsplit=2)[:2] == ["val", "light"]
    assert auc.split() == ["AUC", "0.9123", "1.0000"]
    assert dice.split() == ["Dice", "-", "0.5000"]
    assert len({len(line) for line in (head, auc, dice)}) == 1, "columns stand below each other"


def test_the_registry_holds_of_a_card_what_it_needs() -> None:
    row = as_row(LIGHT)
    assert row["file"] == "light.safetensors"
    assert "members" not in row
    ensemble = as_row(replace(CARD, architecture=ENSEMBLE, members=(LIGHT, LARGE), file=""))
    assert "file" not in ensemble
    assert ensemble["mirrored"] is False
    json.dumps([row, ensemble])


STEP_OF = {
    **dict.fromkeys(("mr", "mr-teacher", "mr-classifier", "light"), "card"),
    **dict.fromkeys(("ct", "ct-teacher", "ct-detector"), "card-ct"),
    "fusion": "card-fusion",
}


@pytest.mark.parametrize("name", STEP_OF)
def test_the_cards_of_the_release_are_what_their_step_writes(name: str, tmp_path: Path) -> None:
    """From the figures and the weights that lie beside them, byte by byte."""
    for path in (ROOT / "weights").iterdir():
        (tmp_path / path.name).symlink_to(path)
    released = (ROOT / "weights" / f"{name}.md").read_bytes()
    (tmp_path / f"{name}.md").unlink()
    training = released.decode().split("\nTraining: ", 1)[1].split("\n", 1)[0]
    splits = ("test",) if STEP_OF[name] == "card" else ("val", "test")
    figures = [str(ROOT / "weights" / f"{name}.{split}.json") for split in splits]
    main([STEP_OF[name], "--figures", *figures, "--training", training, "--weights", str(tmp_path)])
    assert (tmp_path / f"{name}.md").read_bytes() == released


def test_every_aim_is_a_figure_of_an_evaluation() -> None:
    figures = json.loads((ROOT / "weights" / "mr.test.json").read_text(encoding="utf-8"))
    for text, path, _, aim in TARGETS:
        assert 0 <= figure_at(figures, path)["value"] <= 1, text
        assert 0 < aim < 1
