"""Check whether an installation is sound, and gather what a bug report needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reid.domain.values.json_values import JsonValue


@dataclass(frozen=True, slots=True)
class Check:
    """A test of one part of the installation."""

    name: str
    run: Callable[[], str]
    """Returns what was found; raises whatever it fails with."""

    advice: str


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
    """Facts about an installation by subject, and its checks."""

    facts: Mapping[str, JsonValue]
    checks: tuple[CheckOutcome, ...]

    @property
    def failures(self) -> list[CheckOutcome]:
        """The checks that failed."""
        return [outcome for outcome in self.checks if not outcome.is_passed]


def diagnose(
    *,
    facts: Mapping[str, Callable[[], JsonValue]],
    checks: Sequence[Check],
    clock: Callable[[], float],
    conceal: Callable[[str], str],
) -> Diagnosis:
    """Gather facts by subject and run checks in order; failures are reported, and the rest goes on.

    `conceal` removes private parts of a text; it is applied to every text except names.
    """

    def outcome(check: Check) -> CheckOutcome:
        before = clock()
        try:
            finding, is_passed = check.run(), True
        except Exception as error:  # noqa: BLE001  (a broken installation raises anything)
            finding, is_passed = _reason(error), False
        return CheckOutcome(
            name=check.name,
            is_passed=is_passed,
            finding=conceal(finding),
            advice=None if is_passed else conceal(check.advice),
            seconds=clock() - before,
        )

    return Diagnosis(
        facts={subject: _concealed(_fact(tell), conceal) for subject, tell in facts.items()},
        checks=tuple(map(outcome, checks)),
    )


def _fact(tell: Callable[[], JsonValue]) -> JsonValue:
    try:
        return tell()
    except Exception as error:  # noqa: BLE001  (likewise)
        return f"unknown: {_reason(error)}"


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
