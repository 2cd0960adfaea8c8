"""``neurotriage why``: the whole history of one study."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer

from neurotriage.cli import database
from neurotriage.core.summary import Section
from neurotriage.core.summary_text import origin_words

# Details in which events of delivery of the same kind, destination and cause differ.
_OF_ONE_EVENT: Final = ("sop_instance_uid", "objects")
_PROOFS: Final = (("committed", "committed_at"), ("found there", "found_at"))


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
) -> None:
    """Show the history of a study.

    Each series, each hop with its time, and each delivery.

    Example: neurotriage why 1.2.826.0.1.3680043.8.498.1
    """
    from db import queries

    with database.connection() as connection:
        study_ids = queries.find_studies(connection, study)
        if not study_ids:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        for study_id in study_ids:
            for line in lines(queries.history(connection, study_id)):
                typer.echo(line)


def lines(known: Any) -> list[str]:
    """The history (``db.queries.StudyHistory``) as lines of text."""
    row = known.row
    text = [
        f"Study      {row['study_instance_uid']}",
        f"Accession  {row['accession_number'] or '-'}    Patient ID {row['patient_id'] or '-'}",
        f"Outcome    {row['outcome'] or '-'} (triage {row['triage'] or '-'}), state {row['state']}, "
        f"revision {row['revision'] or '-'}, attempts {row['attempts'] or 0}",
        f"Served as  {row['priority']} ({row['priority_evidence'] or 'nothing says otherwise'})",
        f"Reasons    {row['reasons'] or '-'}",
        *([f"Notes      {row['notes']}"] if row["notes"] else []),
        *_impression(known.text),
        "",
        "Series",
    ]
    text += [_verdict(verdict) for verdict in known.verdicts] or ["  not judged yet"]
    if known.analysis is not None and known.analysis.omissions:
        text += ["", "Not made", *(f"  {o.kind:8} {o.text}" for o in known.analysis.omissions)]
    text += ["", "Hops", *_hops(known.events)]
    text += ["", "Sent", *(_deliveries(known.deliveries) or ["  nothing"])]
    if known.last_error:
        text += ["", "Last error", *(f"  {line}" for line in known.last_error.splitlines())]
    return [*text, ""]


def _impression(text: Any) -> list[str]:
    """The impression of the text that stands; `summary` shows the whole text."""
    if text is None:
        return []
    return [f"Text       {text.summary.text_of(Section.IMPRESSION)} ({origin_words(text.summary)})"]


def _hops(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The events in order; events of delivery with the same destination and cause share a line."""
    kinds: dict[object, list[Mapping[str, Any]]] = {}
    for number, event in enumerate(events):
        alone = "destination" not in event["detail"]
        kinds.setdefault(number if alone else (event["kind"], *_cause(event)), []).append(event)
    return [_hop(same) for same in kinds.values()]


def _cause(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in event["detail"].items() if key not in _OF_ONE_EVENT]


def _hop(events: Sequence[Mapping[str, Any]]) -> str:
    first, last = events[0], events[-1]
    detail = first["detail"].items() if len(events) == 1 else _cause(first)
    text = f"  {first['at']:%Y-%m-%d %H:%M:%S.%f} {first['kind']}"
    text += "".join(f" {key}={value}" for key, value in detail)
    if len(events) == 1:
        return text
    objects = sum(event["detail"].get("objects", 1) for event in events)
    return f"{text} objects={objects} ({len(events)} times, last {last['at']:%Y-%m-%d %H:%M:%S})"


def _deliveries(deliveries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The deliveries; objects of the same state, status and proof share a line."""
    fates: dict[tuple[object, ...], list[Mapping[str, Any]]] = {}
    for sent in deliveries:
        proofs = (_proof(sent), sent["alarmed_at"] is not None, sent["comment"])
        fate = (sent["kind"], sent["destination"], sent["state"], sent["last_status"], *proofs)
        fates.setdefault(fate, []).append(sent)
    return [_fate(objects) for objects in fates.values()]


def _proof(sent: Mapping[str, Any]) -> str:
    words = [word for word, column in _PROOFS if sent[column] is not None]
    return "; ".join(words) or str(sent["proof"])


def _fate(objects: Sequence[Mapping[str, Any]]) -> str:
    sent = objects[0]
    parts = [f"  {sent['kind']:8} to {sent['destination']}: {sent['state']}{_tries(objects)}"]
    parts += [sent["last_status"]] if sent["last_status"] else []
    parts += [f'it says "{sent["comment"]}"'] if sent["comment"] else []
    proofs = [
        f"{word} {max(item[column] for item in objects):%Y-%m-%d %H:%M:%S}"
        for word, column in _PROOFS
        if sent[column] is not None
    ]
    parts += proofs or filter(None, [sent["proof"]])
    if sent["state"] in ("waiting", "sending"):
        parts.append(f"next try {min(item['next_try_at'] for item in objects):%Y-%m-%d %H:%M:%S}")
    elif sent["state"] == "held":
        parts.append("until somebody releases it (neurotriage release)")
    elif sent["state"] == "stored" and sent["proof_due_at"] is not None:
        parts.append(f"next look {min(item['proof_due_at'] for item in objects):%Y-%m-%d %H:%M:%S}")
    if sent["alarmed_at"] is not None:
        parts.append(f"ALARM since {min(item['alarmed_at'] for item in objects):%Y-%m-%d %H:%M}")
    return "; ".join(parts) + (f" ({len(objects)} objects)" if len(objects) > 1 else "")


def _tries(objects: Sequence[Mapping[str, Any]]) -> str:
    fewest, most = min(o["attempts"] for o in objects), max(o["attempts"] for o in objects)
    if not most:
        return "" if objects[0]["last_status"] else ", not tried yet"
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f" after {count} {'try' if most == 1 else 'tries'}"


def _verdict(verdict: Mapping[str, Any]) -> str:
    word = "taken  " if verdict["taken"] else "refused"
    name = verdict["description"] or "(no description)"
    text = f"  {word} {verdict['modality'] or '?':3} {name}: {verdict['reason']} [{verdict['code']}]"
    return f"{text} {verdict['evidence']}".rstrip()
