"""The times of a cron expression, as robfig/cron's standard parser reads it, which KubeRay uses.

In: five fields, or a name as `@daily`. Out: whether it is one, and the shortest time between two of its times.
"""

import re
from datetime import date, timedelta
from itertools import pairwise

FIELDS = ((0, 59, ""), (0, 23, ""), (1, 31, ""), (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
          (0, 6, "sun mon tue wed thu fri sat"))  # fmt: skip
NAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
DAY_S = 86400
_FIRST, _DAYS = date(2000, 1, 1), 28 * 1461 // 4  # weekdays fall on the same dates again after 28 years


def is_cron(text: str) -> bool:
    """Whether it is a cron expression of five fields, or a name."""
    fields = text.split(" ")
    return text in NAMES or (
        len(fields) == len(FIELDS)
        and all(_is_field(field, *limits) for field, limits in zip(fields, FIELDS, strict=True))
    )


def shortest_gap_s(text: str, time_zone: str) -> int | None:
    """Seconds between two times of a cron expression, where they are closest; None: there are no two in 28 years.

    Where clocks change, an hour less than they show: a night in spring is that much shorter.
    """
    minutes, hours, days, months, weekdays = (
        _members(field, *limits) for field, limits in zip(NAMES.get(text, text).split(" "), FIELDS, strict=True)
    )
    either = not any(_is_every(field) for field in NAMES.get(text, text).split(" ")[2::2])  # one of the two is enough
    times = sorted(3600 * hour + 60 * minute for hour in hours for minute in minutes)
    gaps = {after - before for before, after in pairwise(times)}
    last: date | None = None
    for number in range(_DAYS):
        day = _FIRST + timedelta(number)
        fits = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month not in months or not (any(fits) if either else all(fits)):
            continue
        if last:
            gaps.add((day - last).days * DAY_S + times[0] - times[-1])
        if last == day - timedelta(1):
            break  # no two days are closer
        last = day
    if not gaps:
        return None
    shortest = min(gaps)
    return shortest - 3600 if time_zone != "UTC" and shortest > 3600 else shortest


def _is_field(field: str, low: int, high: int, names: str) -> bool:
    """A list of `*`, numbers or names and ranges of them, each with a step."""
    for part in field.split(","):
        span, _, step = part.partition("/")
        if not re.fullmatch(r"[1-9]\d*" if "/" in part else "", step):
            return False
        numbers = _ends(span, low, names)
        if len(numbers) > 2 or not all(str(each).isdecimal() and low <= int(each) <= high for each in numbers):
            return False
        if len(numbers) == 2 and int(numbers[0]) > int(numbers[1]):
            return False
    return True


def _members(field: str, low: int, high: int, names: str) -> set[int]:
    """The numbers of a field. `N/STEP` goes on to the highest."""
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        ends = [int(each) for each in _ends(span, low, names)] or [low, high]
        last = high if slash and len(ends) == 1 else ends[-1]
        found |= set(range(ends[0], last + 1, int(step or 1)))
    return found


def _ends(span: str, low: int, names: str) -> list[str | int]:
    """The number of a span, or both of a range; none of `*`."""
    words = [] if span == "*" else span.lower().split("-")
    return [low + names.split().index(word) if word in names.split() else word for word in words]


def _is_every(field: str) -> bool:
    """Whether a day that the other field of days names needs no consent of this one."""
    return any(part in ("*", "*/1") for part in field.split(","))
