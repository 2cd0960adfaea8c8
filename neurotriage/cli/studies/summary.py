"""``neurotriage summary``: the text about a study, and what it rests on."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from db.queries import StudyHistory
    from db.summary_requests import Asked


def register(app: typer.Typer) -> None:
    app.command()(summary)


def summary(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
    file: Path | None = typer.Option(
        None, "--json", dir_okay=False, help="Write facts and text into this file."
    ),
    again: bool = typer.Option(
        False, "--again", help="First make the text, report and document anew with the present settings."
    ),
) -> None:
    """Show the text about a study, and what it rests on.

    Also its origin, its facts, and what models of others were asked and answered.

    With --again they are asked again with today's settings, where [summary] has any. Where no answer is
    accepted, the text of today's template takes the place of the former one, unless a model had arranged
    that and only this answer is missing. Without any, report and document are made of what was kept, name
    those that they replace, and are sent; where the words stay the same, nothing is. Nothing is analysed.

    Example: neurotriage summary 1.2.826.0.1.3680043.8.498.1
    """
    from db import queries, summary_requests

    with database.engine() as engine:
        with engine.connect() as connection:
            study_ids = queries.find_studies(connection, study)
        if not study_ids:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        if again:
            for study_id in study_ids:
                typer.echo(_made_again(engine, study_id))
        with engine.connect() as connection:
            known = [
                (queries.history(connection, study_id), summary_requests.of_study(connection, study_id))
                for study_id in study_ids
            ]
    entries = [entry for history, asked in known if (entry := _entry(history, asked)) is not None]
    for history, asked in known:
        for line in _lines(history, asked):
            typer.echo(line)
    if file is not None:
        file.write_text(json.dumps(entries, indent=2, ensure_ascii=False), encoding="utf-8")
    if len(entries) < len(known):
        raise typer.Exit(1)


def _made_again(engine: "Engine", study_id: int) -> str:
    from db.studies import analyses
    from db.summary_requests import place
    from worker.telling.retell import retell  # pydicom and numpy take their time to import

    settings = settings_beside_serve()
    if settings.summary.asks:
        with engine.begin() as connection:
            standing = analyses.standing(connection, study_id)
            if standing is not None and standing.analysis.outcome.analysed:
                place(connection, standing.id)
                return "it is asked about again: the former text stands until then"
    try:
        made = retell(engine, settings, study_id)
    except OSError as error:
        return f"what the analysis kept cannot be read or written ({error.strerror}): nothing was made"
    if made is None:
        return "no analysis of this study stands, or another one came meanwhile: nothing was made"
    if not made.changed:
        return "the words are the same: nothing was made"
    kinds = ", ".join(result.kind for result in made.objects)
    return f"made anew: text{f', {kinds}' if kinds else ''}"


def _entry(known: "StudyHistory", asked: Sequence["Asked"]) -> dict[str, Any] | None:
    from neurotriage.core.summary_text import summary_entry

    if known.text is None:
        return None
    return {
        "study_instance_uid": known.row["study_instance_uid"],
        "revision": known.row["revision"],
        "facts": known.text.facts,
        "summary": summary_entry(known.text.summary),
        "asked": [_asked_entry(item) for item in asked],
    }


def _asked_entry(asked: "Asked") -> dict[str, Any]:
    return {
        "state": asked.state.value,
        "reason": asked.reason,
        "opinion_reason": asked.opinion_reason,
        "created_at": asked.created_at.isoformat(),
        "ended_at": None if asked.ended_at is None else asked.ended_at.isoformat(),
        "exchanges": [{**item, "asked_at": item["asked_at"].isoformat()} for item in asked.exchanges],
    }


def _asked_lines(asked: "Asked") -> Iterator[str]:
    """What models of others were asked, and the verdict on each answer."""
    reasons = "; ".join(filter(None, (asked.reason, asked.opinion_reason)))
    yield f"  {asked.created_at:%Y-%m-%d %H:%M:%S %Z}  {asked.state.value}{f': {reasons}' if reasons else ''}"
    for item in asked.exchanges:
        took = "no answer yet" if item["took_s"] is None else f"{item['took_s']:.1f} s"
        fault = f", {item['fault']}: {item['detail']}" if item["fault"] else ""
        verdict = "" if item["fault"] or item["refusals"] or item["answer"] is None else ", nothing refused"
        yield f"    {item['purpose']}, {took}{fault}{verdict}"
        for refusal in item["refusals"]:
            place = "the whole" if refusal["sentence"] is None else f"sentence {refusal['sentence'] + 1}"
            yield f"      refused: {place}: {refusal['fault']}: {refusal['detail']}"


def _lines(known: "StudyHistory", asked: Sequence["Asked"]) -> list[str]:
    from neurotriage.core.summary_text import summary_lines

    head = f"Study {known.row['study_instance_uid']}, revision {known.row['revision'] or '-'}"
    if known.text is None:
        return [head, f"  no text: it is {known.row['outcome'] or known.row['state']}", ""]
    facts = [f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in known.text.facts.items()]
    said = [line for item in asked for line in _asked_lines(item)]
    others = ["Models of others were asked", *said, ""] if said else []
    return [head, *summary_lines(known.text.summary), "", "Facts", *facts, "", *others]
