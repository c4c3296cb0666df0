"""Why workers ended, in a few words, for lanes of one worker and worker groups alike.

In: Ray's errors. Out: text for people.
"""

from ray.exceptions import OutOfMemoryError


def lost_a_peer(failure: BaseException) -> bool:
    """Whether gloo or NCCL only says that another worker is gone."""
    text = str(failure)
    return isinstance(failure, RuntimeError) and any(sign in text for sign in ("gloo", "NCCL", "Connection closed"))


def ranks_of(ranks: list[int]) -> str:
    """`rank 0`, or `ranks 1, 2`."""
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, sorted(ranks)))}"


def out_of_memory(failure: BaseException) -> str:
    """What to add of a worker that Ray has killed because its node ran out of memory; "" of any other death, of which
    Ray knows nothing, and says that "the OOM killer" may have been it."""
    known = isinstance(failure, OutOfMemoryError) or "running low on memory" in str(failure)
    return ": the node ran out of memory" if known else ""
