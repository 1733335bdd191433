"""Use case: is this installation sound, and what should a bug report say of it?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # torch may be the very thing that is broken: this module works without it.
    from reid.domain.values.json_values import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something that works or does not."""

    name: str
    run: Callable[[], str]
    """Says what was found; raises whatever it fails with."""

    advice: str
    """What to do where it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What came of a check."""

    name: str
    is_passed: bool
    finding: str
    """What was found, or what it failed with."""

    advice: str | None
    """What to do; None where it passed."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is known of an installation."""

    facts: Mapping[str, "JsonValue"]
    """By subject, in the order of telling."""

    checks: tuple[CheckOutcome, ...]

    @property
    def failures(self) -> tuple[CheckOutcome, ...]:
        """The checks that failed."""
        return tuple(outcome for outcome in self.checks if not outcome.is_passed)

    @property
    def is_sound(self) -> bool:
        """Whether every check passed."""
        return not self.failures


class Diagnose:
    """Gathers facts and runs checks; nothing that breaks keeps the rest from being told."""

    def __init__(
        self,
        *,
        facts: Mapping[str, Callable[[], "JsonValue"]],
        checks: Sequence[Check],
        clock: Callable[[], float],
        conceal: Callable[[str], str],
    ) -> None:
        """Take what is asked.

        Args:
            facts: Tell what there is, by subject.
            checks: Are run in their order.
            clock: Seconds from some moment on.
            conceal: Is given every text of the diagnosis but names, and takes out what is private.
        """
        self._facts = facts
        self._checks = checks
        self._clock = clock
        self._conceal = conceal

    def __call__(self) -> Diagnosis:
        """Gather and check everything; failures are reported, not raised."""
        return Diagnosis(
            facts={subject: self._told(tell) for subject, tell in self._facts.items()},
            checks=tuple(map(self._outcome, self._checks)),
        )

    def _told(self, tell: Callable[[], "JsonValue"]) -> "JsonValue":
        try:
            return self._concealed(tell())
        except Exception as error:  # noqa: BLE001  (a broken installation raises anything)
            return self._conceal(f"unknown: {_reason(error)}")

    def _outcome(self, check: Check) -> CheckOutcome:
        before = self._clock()
        try:
            finding, is_passed = check.run(), True
        except Exception as error:  # noqa: BLE001  (likewise)
            finding, is_passed = _reason(error), False
        return CheckOutcome(
            name=check.name,
            is_passed=is_passed,
            finding=self._conceal(finding),
            advice=None if is_passed else self._conceal(check.advice),
            seconds=self._clock() - before,
        )

    def _concealed(self, value: "JsonValue") -> "JsonValue":
        match value:
            case str():
                return self._conceal(value)
            case dict():
                return {name: self._concealed(entry) for name, entry in value.items()}
            case list():
                return [self._concealed(entry) for entry in value]
            case _:
                return value


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
