"""A weights folder for tests in which no model is ever asked."""

import json
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

from tests.vision.synthetic import write_rules
from worker.vision.registry import StudyRule


def hollow_weights(folder: Path) -> Path:
    """One MR model whose hash is right and whose file is no network: whoever loads it fails."""
    data = b"no network"
    (folder / "hollow.safetensors").write_bytes(data)
    card = {
        "name": "hollow",
        "version": "0",
        "file": "hollow.safetensors",
        "sha256": sha256(data).hexdigest(),
        "modality": "MR",
        "input_px": 64,
        "temperature": 1.0,
        "thresholds": {},
        "classes": [],
    }
    rule = {field.name: "hollow" if field.type is str else 0 for field in fields(StudyRule)}
    (folder / "registry.json").write_text(json.dumps({"models": [card]}))
    write_rules(folder, {"rules": {"MR": rule}})
    return folder
