"""Places of trials at workers: the emptiest is given, and none is lost or given twice."""

from platform.lanes.places import Places


def opened(each: int, *workers: int) -> Places:
    places = Places(each)
    for worker in workers:
        places.open(worker, f"actor {worker}")
    return places


def worker_of(places: Places, trial: str) -> int | None:
    place = places.take(trial)
    return place.worker if place else None


def test_the_emptiest_host_is_given_until_all_are_full():
    places = opened(2, 0, 1)
    assert [worker_of(places, name) for name in "abcde"] == [0, 1, 0, 1, None]
    first = places.of("a")
    assert first
    assert (first.trial, first.actor) == ("a", "actor 0")
    places.free("a", first.number, steps_together=7)
    assert places.of("a") is None
    assert worker_of(places, "e") == 0
    assert [place.trial for place in places.taken()] == ["b", "c", "d", "e"]
    assert places.steps_together() == 7


def test_without_a_host_there_is_none():
    assert worker_of(opened(2), "a") is None


def test_a_trial_has_one_place_until_it_has_left():
    """Two processes of one trial would write to the same folder."""
    places = opened(4, 0)
    assert worker_of(places, "a") == 0
    assert worker_of(places, "a") is None


def test_what_was_told_late_of_an_earlier_place_frees_no_other():
    places = opened(1, 0)
    first = places.take("a")
    assert first
    places.free("a", first.number)
    second = places.take("a")
    assert second
    places.free("a", first.number)
    assert places.of("a") == second


def test_with_a_host_its_places_are_gone_and_come_back_with_the_next():
    places = opened(2, 0, 1)
    for name in "abc":
        places.take(name)
    places.close(0)
    assert [place.trial for place in places.taken()] == ["b"]
    assert worker_of(places, "a") == 1
    assert worker_of(places, "c") is None
    places.open(0, "another actor")
    assert worker_of(places, "c") == 0


def test_a_host_whose_node_leaves_takes_no_more_and_keeps_those_that_are_there():
    places = opened(2, 0)
    places.take("a")
    places.refuse(0)
    assert worker_of(places, "b") is None
    assert [place.trial for place in places.taken()] == ["a"]
