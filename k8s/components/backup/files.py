"""Files of a backup. `files.py backup`: what is new in MLflow's store and in runs/, to the backup's volume.
`files.py restore`: what is missing where it came from, back to there.

In: BACKUP, RUNS (folders), MLFLOW_ARTIFACTS_DESTINATION (s3://BUCKET/PREFIX) and AWS_*. Out: exit status 0, or 1 and a
traceback. `backup` copies what has another size or time; `restore` overwrites and removes nothing. Checkpoints stay
behind: they are the largest files of runs that go on, and `checkpoint.copy_to` keeps them elsewhere.
"""

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

LEFT_OUT = ("checkpoints", "ray")


def main(verb: str) -> None:
    backup, runs = Path(os.environ["BACKUP"]), Path(os.environ["RUNS"])
    place = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    if place.scheme != "s3":
        sys.exit(f"MLFLOW_ARTIFACTS_DESTINATION is {place.scheme}://...; this backs up s3 only: use your store's own")
    client = boto3.client("s3")  # address, region and credentials from AWS_*
    if verb == "backup":
        print(from_store(client, place.netloc, place.path.strip("/"), backup / "store"), "files of the store are new")
        print(copied(runs, backup / "runs", again=True), "files of runs are new")
    else:
        print(to_store(client, place.netloc, backup / "store"), "files of the store were missing")
        print(copied(backup / "runs", runs, again=False), "files of runs were missing")


def from_store(client, bucket: str, prefix: str, folder: Path) -> int:
    count = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for each in page.get("Contents", []):
            target, changed = folder / each["Key"], each["LastModified"].timestamp()
            if each["Key"].endswith("/") or is_same(target, each["Size"], changed):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"{target.name}.unfinished")
            client.download_file(bucket, each["Key"], str(unfinished))
            os.utime(unfinished, (changed, changed))
            unfinished.replace(target)
            count += 1
    return count


def to_store(client, bucket: str, folder: Path) -> int:
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        client.create_bucket(Bucket=bucket)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    there = {each["Key"] for page in pages for each in page.get("Contents", [])}
    missing = [file for file in files(folder) if file.relative_to(folder).as_posix() not in there]
    for file in missing:
        client.upload_file(str(file), bucket, file.relative_to(folder).as_posix())
    return len(missing)


def copied(source: Path, target: Path, *, again: bool) -> int:
    count = 0
    for file in files(source):
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


def files(folder: Path) -> list[Path]:
    found = []
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in LEFT_OUT)
        found += [Path(path) / name for name in sorted(names) if not name.endswith(".unfinished")]
    return [each for each in found if each.is_file() and not each.is_symlink()]


def is_same(file: Path, size: int, changed: float) -> bool:
    if not file.exists():
        return False
    stat = file.stat()
    return stat.st_size == size and abs(stat.st_mtime - changed) < 1


if __name__ == "__main__":
    main(sys.argv[1])
