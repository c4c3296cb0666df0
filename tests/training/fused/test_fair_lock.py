"""A lock that nobody waits for in vain: whoever asked first has it first."""

import threading
import time

from platform.training.fused.fair_lock import FairLock


def waiting(lock: FairLock, count: int) -> None:
    """Until so many threads wait for it."""
    while lock.waiting < count:
        time.sleep(0.001)


def test_threads_have_it_in_the_order_in_which_they_asked():
    lock, order, threads = FairLock(), [], list[threading.Thread]()

    def ask(number: int) -> None:
        with lock:
            order.append(number)

    with lock:
        for number in range(5):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            waiting(lock, number + 1)
        order.append(-1)
    for thread in threads:
        thread.join()
    assert order == [-1, 0, 1, 2, 3, 4]
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)


def test_who_hands_on_lets_all_go_first_that_wait_and_then_goes_on():
    lock, order = FairLock(), []

    def work(number: int) -> None:
        with lock:
            for step in range(3):
                order.append((number, step))
                lock.hand_on()

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    with lock:
        for count, thread in enumerate(threads, start=1):
            thread.start()
            waiting(lock, count)
        lock.hand_on()
        order.append("back")
        lock.hand_on()
    for thread in threads:
        thread.join()
    assert order == [(1, 0), (2, 0), "back", (1, 1), (2, 1), (1, 2), (2, 2)]
    with lock:
        lock.hand_on()  # to nobody


def test_a_condition_can_be_made_of_it():
    lock = FairLock()
    condition = threading.Condition(lock)  # pyright: ignore[reportArgumentType]
    found = []

    def wait() -> None:
        with condition:
            found.append(condition.wait_for(lambda: "ready" in found, timeout=30))

    thread = threading.Thread(target=wait)
    thread.start()
    while not condition._waiters:  # pyright: ignore[reportAttributeAccessIssue]
        time.sleep(0.001)
    with condition:
        found.append("ready")
        condition.notify_all()
    thread.join()
    assert found == ["ready", True]
