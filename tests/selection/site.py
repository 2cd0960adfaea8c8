"""Rules of a site for tests: from TOML text, as a file of theirs."""

from pathlib import Path
from tempfile import TemporaryDirectory

from worker.selection import SiteRules, read_rules


def rules_of(text: str) -> SiteRules:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rules.toml"
        path.write_text(text, encoding="utf-8")
        return read_rules(path)


def rule(when: str, action: str = "refuse", name: str = "a rule") -> str:
    """One rule; ``when`` is an inline table without its braces."""
    reason = 'reason = "not here"\n' if action == "refuse" else ""
    return f'[[rule]]\nname = "{name}"\naction = "{action}"\n{reason}when = {{ {when} }}\n'
