"""Check whether an installation is sound, and gather what a bug report needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from reid.domain.values.json_values import JsonValue

Facts: TypeAlias = Mapping[str, Callable[[], JsonValue]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A test of one part of the installation."""

    name: str
    run: Callable[[], str]
    """Returns what was found; raises whatever it fails with."""

    advice: str
    """What to do where it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """Outcome of a check."""

    name: str
    is_passed: bool
    finding: str
    """What was found, or what it failed with."""

    advice: str | None
    """What to do; None where it passed."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Facts about an installation, and its checks."""

    facts: Mapping[str, JsonValue]
    """By subject, in the order of the page."""

    checks: tuple[CheckOutcome, ...]

    @property
    def failures(self) -> tuple[CheckOutcome, ...]:
        """The checks that failed."""
        return tuple(outcome for outcome in self.checks if not outcome.is_passed)

    @property
    def is_sound(self) -> bool:
        """Whether every check passed."""
        return not self.failures


def diagnose(
    *,
    facts: Facts,
    checks: Sequence[Check],
    clock: Callable[[], float],
    conceal: Callable[[str], str],
) -> Diagnosis:
    """Gather facts by subject and run checks in order; failures are reported, and the rest goes on.

    `conceal` removes private parts of a text; it is applied to every text except names.
    """

    def fact(tell: Callable[[], JsonValue]) -> JsonValue:
        try:
            return _concealed(tell(), conceal)
        except Exception as error:  # noqa: BLE001  (a broken installation raises anything)
            return conceal(f"unknown: {_reason(error)}")

    def outcome(check: Check) -> CheckOutcome:
        before = clock()
        try:
            finding, is_passed = check.run(), True
        except Exception as error:  # noqa: BLE001  (likewise)
            finding, is_passed = _reason(error), False
        return CheckOutcome(
            name=check.name,
            is_passed=is_passed,
            finding=conceal(finding),
            advice=None if is_passed else conceal(check.advice),
            seconds=clock() - before,
        )

    return Diagnosis(
        facts={subject: fact(tell) for subject, tell in facts.items()},
        checks=tuple(map(outcome, checks)),
    )


def _concealed(value: JsonValue, conceal: Callable[[str], str]) -> JsonValue:
    match value:
        case str():
            return conceal(value)
        case dict():
            return {name: _concealed(entry, conceal) for name, entry in value.items()}
        case list():
            return [_concealed(entry, conceal) for entry in value]
        case _:
            return value


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
