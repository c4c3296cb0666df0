"""Cron expressions, and how close two of their times are."""

import pytest

from platform.config.cron import DAY_S, is_cron, shortest_gap_s

HOUR_S = 3600


@pytest.mark.parametrize(
    ("text", "gap_s"),
    [
        ("0 2 * * *", DAY_S),
        ("@daily", DAY_S),
        ("@hourly", HOUR_S),
        ("@weekly", 7 * DAY_S),
        ("@monthly", 28 * DAY_S),
        ("@yearly", 365 * DAY_S),
        ("*/20 * * * *", 20 * 60),
        ("50/5 * * * *", 5 * 60),  # from 50 on
        ("10,50 * * * *", 20 * 60),  # from 50 to 10 of the next hour
        ("0 1-23/4 * * *", 4 * HOUR_S),
        ("30 22,6 * * *", 8 * HOUR_S),  # over midnight
        ("0 2 * * mon-fri", DAY_S),
        ("0 2 * * sat", 7 * DAY_S),
        ("0 2 * * 1,4", 3 * DAY_S),
        ("0 2 1,15 * *", 14 * DAY_S),
        ("0 2 31 * *", 31 * DAY_S),  # July to August
        ("0 2 13 * fri", DAY_S),  # either is enough: the 13th may be a Thursday
        ("0 2 13 * *", 28 * DAY_S),
        ("0 2 */2 * sun", DAY_S),  # a step is no star: 1st of the month, and a Sunday on the 2nd
        ("0 2 */1 * sun", 7 * DAY_S),  # a step of one is
        ("0 2 1 jan sun", DAY_S),  # New Year may be a Saturday
        ("0 0 29 2 *", 4 * 365 * DAY_S + DAY_S),
        ("0,30 23,0 * * *", 30 * 60),
        ("0 0 30 2 *", None),  # never
    ],
)
def test_the_shortest_time_between_two(text: str, gap_s: int | None):
    assert is_cron(text)
    assert shortest_gap_s(text, "UTC") == gap_s


@pytest.mark.parametrize(("text", "gap_s"), [("0 2 * * *", 23 * HOUR_S), ("@hourly", HOUR_S), ("0 1,3 * * *", HOUR_S)])
def test_a_night_in_spring_is_an_hour_shorter(text: str, gap_s: int):
    assert shortest_gap_s(text, "Europe/Berlin") == gap_s


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 7", "*/0 * * * *",
             "5-1 * * * *", "1-2-3 * * * *", "@every 1h", "a * * * *", "0 0 * * funday", "0  0 * * *"],
)  # fmt: skip
def test_what_is_none(text: str):
    assert not is_cron(text)
