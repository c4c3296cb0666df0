"""What is said of processes that the fork server did not start. See test_forked_actors and test_forked_nodes."""

from platform.cluster.fork_server.client import FORKED
from platform.cluster.runtime_env import Unforked


def test_the_first_process_of_each_reason_is_told_at_once_and_the_number_in_the_end():
    said: list[str] = []
    unforked = Unforked()
    for how in (FORKED, "no room", "no room", "no room", "too old", FORKED):
        unforked.add(how, said.append)
    assert [line.split()[0] for line in said] == ["1", "1"]
    assert "no room" in said[0]
    assert "too old" in said[1]
    unforked.say_totals(said.append)
    assert said[2:] == [said[0].replace("1", "3", 1)]
