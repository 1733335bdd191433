from datetime import UTC, datetime, timedelta, timezone

import pytest

from reid.domain.values.durations import parse_duration, parse_time, time_after, time_text


@pytest.mark.parametrize(
    ("text", "hours"), [("1h", 1), ("36h", 36), ("30d", 720), ("8w", 1344), ("5200w", 873_600)]
)
def test_durations_are_hours_days_or_weeks(text: str, hours: int) -> None:
    assert parse_duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30D", "1y", "9999999w", "\u0663d"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="30d"):
        parse_duration(text)


def test_times_are_written_in_utc_and_sort_as_texts() -> None:
    east = timezone(timedelta(hours=2))
    assert time_text(datetime(2026, 1, 1, 1, 30, tzinfo=east)) == "2025-12-31T23:30:00Z"
    assert time_text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
    assert time_after("2026-02-27T12:00:00Z", timedelta(days=2)) == "2026-03-01T12:00:00Z"


def test_days_and_times_are_read_in_utc() -> None:
    assert parse_time("2026-01-31") == "2026-01-31T00:00:00Z"
    assert parse_time("2026-01-31T12:30:05Z") == "2026-01-31T12:30:05Z"
    assert parse_time("0900-01-01") == "0900-01-01T00:00:00Z"


@pytest.mark.parametrize("text", ["", "yesterday", "31.01.2026", "2026-02-30", "2026-01-31T12:00"])
def test_other_words_are_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="should be a day such as 2026-01-31 or a time"):
        parse_time(text)
