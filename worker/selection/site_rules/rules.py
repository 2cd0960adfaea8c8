"""The rules of a site: which series it takes, refuses or prefers beside the built-in rules.

They are data in a TOML file, never expressions. The first rule that matches a series decides about it.
"""

import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from neurotriage.core.setting_errors import explained
from neurotriage.core.settings import ConfigurationError, Section
from worker.selection.site_rules.condition import MAX_DEPTH, Condition, SeriesView

MAX_BYTES: Final = 256 * 1024
MAX_RULES: Final = 200
_MAX_TOLD: Final = 4  # tags and facts that a verdict repeats


class Rule(Section):
    """``[[rule]]``: what is done with the series that fulfil a condition."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    action: Literal["take", "refuse", "prefer"]
    reason: str = Field("", max_length=200, description="of a refusal: the site's sentence")
    when: Condition

    @field_validator("name", "reason")
    @classmethod
    def _is_a_line(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError("one line of text, without spaces around it")
        return value

    @field_validator("when")
    @classmethod
    def _is_shallow(cls, value: Condition) -> Condition:
        if value.depth > MAX_DEPTH:
            raise ValueError(f"conditions are nested deeper than {MAX_DEPTH}")
        return value

    @model_validator(mode="after")
    def _has_a_reason_or_needs_none(self) -> Self:
        if self.action == "refuse" and not self.reason:
            raise ValueError("reason: a rule that refuses needs one")
        if self.action != "refuse" and self.reason:
            raise ValueError("reason: only a rule that refuses has one")
        return self

    def told(self, series: SeriesView) -> str:
        """The rule, and what it looked at in a series: ``rule "thin": slices = 30; modality = CT``."""
        told = tuple(dict.fromkeys(question.told(series) for question in self.when.questions()))
        more = "; ..." if len(told) > _MAX_TOLD else ""
        return f'rule "{self.name}": {"; ".join(told[:_MAX_TOLD])}{more}'


class _RulesFile(Section):
    """The file of a site's rules."""

    rule: tuple[Rule, ...] = Field((), max_length=MAX_RULES)

    @field_validator("rule")
    @classmethod
    def _names_are_unique(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several rules have the name {', '.join(map(repr, twice))}")
        return value


@dataclass(frozen=True, slots=True)
class SiteRules:
    """The rules of a site, in their order, and the SHA-256 (hex) of the file they came from."""

    rules: tuple[Rule, ...]
    sha256: str

    @property
    def tags(self) -> frozenset[int]:
        """Every tag that a rule asks for."""
        questions = (question for rule in self.rules for question in rule.when.questions())
        return frozenset(question.tag.tag for question in questions if question.tag is not None)

    def first(self, series: SeriesView) -> tuple[int, Rule] | None:
        """The first rule that a series fulfils, with its place from 0; None where none does."""
        return next((found for found in enumerate(self.rules) if found[1].when.holds(series)), None)


# Where a site has no rules of its own.
BUILT_IN_ALONE: Final = SiteRules((), "")


def read_rules(path: Path | None) -> SiteRules:
    """Read and check the rules of a site; ``BUILT_IN_ALONE`` for None.

    Raises ``ConfigurationError`` with one line per wrong key, each of which names file, rule and key.
    """
    if path is None:
        return BUILT_IN_ALONE
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path}: larger than {MAX_BYTES // 1024} KiB")
    try:
        written = tomllib.loads(content.decode())
        parsed = _RulesFile.model_validate(written)
    except ValidationError as error:
        lines = explained(error, written.__getitem__).splitlines()
        raise ConfigurationError("\n".join(f"{path}: {line}" for line in lines)) from None
    except (ValueError, RecursionError) as error:  # not TOML, or nested too deep to be read
        raise ConfigurationError(f"{path}: {error}") from None
    return SiteRules(parsed.rule, sha256(content).hexdigest())
