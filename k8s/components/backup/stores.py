"""Where MLflow keeps its files, by the kind of MLFLOW_ARTIFACTS_DESTINATION: a bucket of S3's or Google's, or a folder.

A store lists what it holds by key, and gives and takes one file. Addresses and credentials come from the environment
(AWS_*) or from the account that the cloud gives the pod.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit


class Entry(NamedTuple):
    """One file of a store."""

    key: str
    size: int
    changed: float  # seconds since 1970


class Store(Protocol):
    def entries(self) -> Iterator[Entry]: ...

    def get(self, key: str, to: Path) -> None: ...

    def put(self, file: Path, key: str) -> None: ...

    def prepare(self) -> None:
        """Make what holds the files, where it is gone and may be made."""
        ...


def store_of(destination: str) -> Store:
    place = urlsplit(destination)
    prefix = place.path.strip("/") and f"{place.path.strip('/')}/"
    match place.scheme:
        case "s3":
            return S3(place.netloc, prefix)
        case "gs":
            return Google(place.netloc, prefix)
        case "" | "file":
            return Folder(Path(place.path))
    raise ValueError(
        f"MLFLOW_ARTIFACTS_DESTINATION is {destination}; its files are saved from s3://, gs:// or a folder, and "
        f"by your cloud's own backup from {place.scheme}://"
    )


class S3:
    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3

        self.client: Any = boto3.client("s3")
        self.bucket, self.prefix = bucket, prefix

    def entries(self) -> Iterator[Entry]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            for each in page.get("Contents", []):
                yield Entry(each["Key"], each["Size"], each["LastModified"].timestamp())

    def get(self, key: str, to: Path) -> None:
        self.client.download_file(self.bucket, key, str(to))

    def put(self, file: Path, key: str) -> None:
        self.client.upload_file(str(file), self.bucket, key)

    def prepare(self) -> None:
        from botocore.exceptions import ClientError

        try:
            self.client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise
            self.client.create_bucket(Bucket=self.bucket)


class Google:
    """A bucket of Google Cloud Storage. One that is gone is made by its owner: it has a place and rights."""

    def __init__(self, bucket: str, prefix: str) -> None:
        from google.cloud import storage

        self.bucket: Any = storage.Client().bucket(bucket)
        self.prefix = prefix

    def entries(self) -> Iterator[Entry]:
        for each in self.bucket.list_blobs(prefix=self.prefix):
            yield Entry(each.name, each.size, each.updated.timestamp())

    def get(self, key: str, to: Path) -> None:
        self.bucket.blob(key).download_to_filename(str(to))

    def put(self, file: Path, key: str) -> None:
        self.bucket.blob(key).upload_from_filename(str(file))

    def prepare(self) -> None:
        next(iter(self.bucket.list_blobs(max_results=1)), None)  # there, and open to this account


class Folder:
    """A folder of a mounted volume."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(
                f"MLflow's files are in {folder}, which is not mounted here; take components/backup-files-on-volume in "
                "place of components/backup"
            )
        self.folder = folder

    def entries(self) -> Iterator[Entry]:
        for file in sorted(self.folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                stat = file.stat()
                yield Entry(file.relative_to(self.folder).as_posix(), stat.st_size, stat.st_mtime)

    def get(self, key: str, to: Path) -> None:
        shutil.copyfile(self.folder / key, to)

    def put(self, file: Path, key: str) -> None:
        target = self.folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.unfinished")
        shutil.copyfile(file, unfinished)
        unfinished.replace(target)

    def prepare(self) -> None:
        pass
