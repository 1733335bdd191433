"""Durations such as `30d`, and times as galleries write them."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

_HOURS = {"h": 1, "d": 24, "w": 7 * 24}
_MOST_HOURS = 100 * 366 * 24


def parse_duration(text: str) -> timedelta:
    """Read a whole number of hours, days or weeks: `12h`, `30d`, `8w`.

    Raises:
        ValueError: It is not a duration, or longer than a century.
    """
    match = re.fullmatch(r"([1-9]\d{0,6})([hdw])", text, re.ASCII)
    hours = int(match[1]) * _HOURS[match[2]] if match else 0
    if not 0 < hours <= _MOST_HOURS:
        raise ValueError("should be a number of hours, days or weeks such as 30d")
    return timedelta(hours=hours)


def parse_time(text: str) -> str:
    """Read a UTC day, which begins at midnight, or a UTC time; return it as galleries write it.

    Raises:
        ValueError: It is neither.
    """
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"):
        with suppress(ValueError):
            return time_text(datetime.strptime(text, form).replace(tzinfo=UTC))
    raise ValueError("should be a day such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z")


def time_after(at: str, duration: timedelta) -> str:
    """Add a duration to a time, both in and out as galleries write it."""
    return time_text(datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) + duration)


def time_text(time: datetime) -> str:
    """Write a time in UTC, in ISO 8601 with seconds: such texts sort as times do."""
    # strftime writes fewer digits for years before 1000 on some systems.
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
