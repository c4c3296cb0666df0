"""Files of a backup. `files.py backup`: what is new in runs/ and in MLflow's store, to the backup's volume.
`files.py restore`: what is missing where it came from, back to there.

In: BACKUP, RUNS (folders), MLFLOW_ARTIFACTS_DESTINATION (stores.py) and what its store wants. Out: exit status 0, or 1
and the reason. `backup` copies what has another size or time; `restore` overwrites and removes nothing. `runs/` come
first, so that a store that does not answer costs no run. Its checkpoints stay behind: they are the largest files of
runs that go on, and `checkpoint.copy_to` keeps them elsewhere.
"""

import os
import shutil
import sys
from pathlib import Path

from stores import Store, store_of  # beside this file, as it is mounted

LEFT_OUT = ("checkpoints", "ray")  # of runs/


def main(verb: str) -> None:
    backup, runs = Path(os.environ["BACKUP"]), Path(os.environ["RUNS"])
    destination = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    if verb == "backup":
        print(copied(runs, backup / "runs", again=True), "files of runs are new", flush=True)
    else:
        print(copied(backup / "runs", runs, again=False), "files of runs were missing", flush=True)
    try:
        store = store_of(destination)
    except ValueError as error:
        sys.exit(str(error))
    if verb == "backup":
        print(from_store(store, backup / "store"), f"files of {destination} are new")
    else:
        print(to_store(store, backup / "store"), f"files of {destination} were missing")


def from_store(store: Store, folder: Path) -> int:
    count = 0
    for entry in store.entries():
        target = folder / entry.key
        if entry.key.endswith("/") or is_same(target, entry.size, entry.changed):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.unfinished")
        store.get(entry.key, unfinished)
        os.utime(unfinished, (entry.changed, entry.changed))
        unfinished.replace(target)
        count += 1
    return count


def to_store(store: Store, folder: Path) -> int:
    store.prepare()
    there = {entry.key for entry in store.entries()}
    missing = [file for file in files(folder) if file.relative_to(folder).as_posix() not in there]
    for file in missing:
        store.put(file, file.relative_to(folder).as_posix())
    return len(missing)


def copied(source: Path, target: Path, *, again: bool) -> int:
    count = 0
    for file in files(source, LEFT_OUT):
        to, stat = target / file.relative_to(source), file.stat()
        if to.exists() and (not again or is_same(to, stat.st_size, stat.st_mtime)):
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_name(f"{to.name}.unfinished")
        shutil.copyfile(file, unfinished)
        os.utime(unfinished, (stat.st_mtime, stat.st_mtime))
        unfinished.replace(to)
        count += 1
    return count


def files(folder: Path, left_out: tuple[str, ...] = ()) -> list[Path]:
    found = []
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in left_out)
        found += [Path(path) / name for name in sorted(names) if not name.endswith(".unfinished")]
    return [each for each in found if each.is_file() and not each.is_symlink()]


def is_same(file: Path, size: int, changed: float) -> bool:
    if not file.exists():
        return False
    stat = file.stat()
    return stat.st_size == size and abs(stat.st_mtime - changed) < 1


if __name__ == "__main__":
    main(sys.argv[1])
