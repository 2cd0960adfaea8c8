"""Each metric is documented, names nobody, and is what rules and dashboard ask for."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from db.operations.processes import LoadedModel
from neurotriage.operations import make_snapshot
from neurotriage.operations.exporter import exposition
from neurotriage.operations.facts import Facts, Section
from neurotriage.operations.metrics import METRICS
from neurotriage.operations.readiness import not_ready
from tests.conftest import ROOT, absent
from tests.operations.made import AT, EMPTY, GB, SETTINGS, WELL, load, process

pytestmark = pytest.mark.unit

MONITORING = ROOT / "docs" / "monitoring"
LABELS = {metric.name: set(metric.labels) for metric in METRICS}
SELECTOR = re.compile(r"(neurotriage_\w+)(?:\{([^}]*)\})?")


def _samples(facts: Facts) -> dict[tuple[str, ...], float]:
    """By name and values of the labels, sorted by label."""
    text = exposition(make_snapshot(facts, SETTINGS), SETTINGS).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _exprs() -> list[str]:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    exprs = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    exprs += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return exprs


def test_the_metrics_are_those_of_the_snapshot() -> None:
    told = _samples(WELL)
    assert told["neurotriage_queue_studies", "urgent", "waiting"] == 1
    assert told["neurotriage_queue_studies", "urgent", "analysing"] == 1
    assert told["neurotriage_queue_oldest_seconds", "routine"] == 60
    assert told["neurotriage_processes", "analysis", "alive"] == 2
    assert told["neurotriage_studies", "delivered", "1h"] == 8
    assert told["neurotriage_hop_seconds", "ready_to_analysed", "95", "24h"] == 7000
    assert told["neurotriage_delivery_sent", "pacs", "stored", "1h"] == 80
    assert told["neurotriage_disk_left_seconds",] == 20 * 86_400
    assert told["neurotriage_backlog_seconds",] == 12


def test_every_metric_has_a_sample_where_all_is_known() -> None:
    assert {key[0] for key in _samples(WELL)} == set(LABELS)


def test_what_is_not_known_has_no_sample_and_is_said_not_to_be() -> None:
    facts = Facts(at=AT, disk=WELL.disk, missing=dict.fromkeys(set(Section) - {Section.DISK}, "away"))
    told = _samples(facts)
    assert told["neurotriage_known", "queue"] == 0
    assert told["neurotriage_known", "disk"] == 1
    assert told["neurotriage_ready", "analysis"] == 0
    assert not [key for key in told if key[0].startswith(("neurotriage_queue", "neurotriage_studies"))]


def test_an_empty_installation_is_zero_and_not_unknown() -> None:
    told = _samples(EMPTY)
    assert told["neurotriage_queue_studies", "urgent", "waiting"] == 0
    assert told["neurotriage_processes", "listen", "alive"] == 0
    assert ("neurotriage_disk_left_seconds",) not in told


def test_no_label_names_a_peer_a_host_or_a_destination_that_is_not_configured() -> None:
    secret = "10.1.2.3"
    loads = (load(f"back/CT1@{secret}"), load("pacs/CT2@10.9.9.9", objects_waiting=2), load("former"), load())
    told = _samples(replace(WELL, destinations=loads))
    values = {value for key in told for value in key[1:]}
    assert not [value for value in values if re.search(r"CT1|CT2|10\.|host1|former", value)]
    assert told["neurotriage_delivery_objects", "pacs", "waiting"] == 2  # with the peers behind its slash
    assert told["neurotriage_delivery_sent", "not_configured", "stored", "1h"] == 160


def test_every_metric_has_its_line_in_the_documents_and_every_line_its_metric() -> None:
    rows = re.findall(
        r"^\| `(neurotriage_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \| ([^|]+) \|$",
        (MONITORING / "README.md").read_text(),
        re.MULTILINE,
    )
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text, _ in rows
    }
    assert documented == {metric.name: ("gauge", set(metric.labels), metric.text) for metric in METRICS}
    assert len(rows) == len(METRICS)


@pytest.mark.parametrize("expr", _exprs())
def test_rules_and_dashboard_ask_for_metrics_and_labels_that_exist(expr: str) -> None:
    asked = SELECTOR.findall(expr)
    assert asked
    told = {key[0]: set() for key in _samples(WELL)}  # type: dict[str, set[str]]
    for key in _samples(WELL):
        told[key[0]] |= set(key[1:])
    for name, selector in asked:
        pairs = re.findall(r'(\w+)="([^"]*)"', selector)
        assert {label for label, _ in pairs} <= LABELS[name]
        assert {value for _, value in pairs} <= told[name]


def _shown_labels() -> list[tuple[str, set[str]]]:
    """The expression and the labels that its sentence or legend shows, of each rule and each curve."""
    rules: Any = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    dashboard: Any = json.loads((MONITORING / "grafana.json").read_text())
    shown = [
        (rule["expr"], set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])))
        for rule in rules["groups"][0]["rules"]
    ]
    curves = [target for panel in dashboard["panels"] for target in panel["targets"]]
    return shown + [(curve["expr"], set(re.findall(r"{{(\w+)}}", curve["legendFormat"]))) for curve in curves]


def test_sentences_and_legends_show_labels_that_exist() -> None:
    for expr, labels in _shown_labels():
        assert labels <= set.union(*(LABELS[name] for name, _ in SELECTOR.findall(expr))), expr


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        absent("promtool", "promtool is not installed (Debian: apt install prometheus)")
    return str(found)


def test_promtool_takes_the_rules_and_the_metrics(promtool: str) -> None:
    checked = [
        subprocess.run(command, input=given, capture_output=True, check=False)
        for command, given in (
            ([promtool, "check", "rules", MONITORING / "alerts.yml"], None),
            ([promtool, "check", "metrics"], exposition(make_snapshot(WELL, SETTINGS), SETTINGS)),
        )
    ]
    assert [(done.returncode, done.stderr) for done in checked] == [(0, b""), (0, b"")]


def test_a_role_is_ready_once_it_can_do_its_work() -> None:
    assert set(not_ready(make_snapshot(WELL, SETTINGS), SETTINGS).values()) == {""}
    cold = replace(process("analysis"), models=())
    warm = replace(process("analysis", pid=8), models=(LoadedModel("mr", "1", "torch"),))
    others = (process("listen"), process("delivery"))
    disk = replace(WELL.disk, free_bytes=9 * GB) if WELL.disk else None
    for facts, role, why in (
        (replace(WELL, processes=(cold, *others)), "analysis", "no process has loaded its models yet"),
        (replace(WELL, processes=(cold, warm, *others)), "analysis", ""),
        (replace(WELL, processes=others), "analysis", "no process of the role analysis runs"),
        (replace(WELL, disk=disk), "listen", "the disk is short of space: nothing is received"),
    ):
        assert not_ready(make_snapshot(facts, SETTINGS), SETTINGS)[role] == why


def test_a_role_can_be_asked_for_on_one_host() -> None:
    snapshot = make_snapshot(WELL, SETTINGS)
    assert not_ready(snapshot, SETTINGS, "host1")["analysis"] == ""
    assert (
        not_ready(snapshot, SETTINGS, "host2")["analysis"] == "no process of the role analysis runs on host2"
    )
