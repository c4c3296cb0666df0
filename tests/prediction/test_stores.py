"""Images in a store: listed whole and in order, whatever their names, with labels and reasons as on a disk."""

import re
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.storage import Storage
from platform.prediction.images import Images, find_images

pytestmark = pytest.mark.slow  # the store is a process
STORAGE = StorageConfig(cache="memory", attempts=1)
NAMES = ["a dog #1?.jpg", "cat/1.jpg", "cat/ünï.png", "dog/50%.jpg", "dog/.hidden.jpg", "other/x.txt"]


def found(*sources: str) -> Images:
    return find_images(list(sources), None, STORAGE)


@pytest.fixture(scope="module")
def bucket(s3: str) -> str:
    store = fsspec.filesystem("s3")
    store.mkdir("photos")
    for name in NAMES:
        store.pipe_file(f"photos/in/{name}", name.encode())
    store.pipe_file("photos/inside/no.jpg", b"of another folder")
    store.call_s3("put_object", Bucket="photos", Key="in/cat/", Body=b"")  # a folder that consoles make
    return "s3://photos"


@pytest.mark.parametrize("end", ["", "/"])
def test_a_prefix_is_all_files_below_it_with_their_folders_as_labels(bucket: str, end: str) -> None:
    images = found(f"{bucket}/in{end}")
    seen = [images.read(place) for place in range(len(images))]
    assert [(image.name, image.label, image.data) for image in seen] == [
        (name, name.partition("/")[0] if "/" in name else None, name.encode())
        for name in sorted(NAMES)
        if "hidden" not in name
    ]
    assert images.left_out == [f"1 hidden file(s) and files of tools in {bucket}/in{end}"]


def test_patterns_single_images_and_shards_take_their_places_in_a_list(bucket: str, tmp_path: Path) -> None:
    images = found(f"{bucket}/in/dog/50%.jpg", f"{bucket}/in/*/*.png", f"{bucket}/in/cat")
    seen = [images.read(place) for place in range(len(images))]
    assert [(image.name, image.data) for image in seen] == [
        (f"{bucket}/in/dog/50%.jpg", b"dog/50%.jpg"),
        (f"{bucket}/in/cat/ünï.png", "cat/ünï.png".encode()),
        ("1.jpg", b"cat/1.jpg"),
        ("ünï.png", "cat/ünï.png".encode()),
    ]


@pytest.mark.long
def test_more_images_than_a_store_lists_at_once_are_all_there(bucket: str) -> None:
    store, names = fsspec.filesystem("s3"), [f"{number:04d}.jpg" for number in range(1003)]
    store.pipe({f"photos/many/{name}": b"x" for name in names})
    (part,) = found(f"{bucket}/many/").parts
    assert part.names == names  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("s3://photos/nowhere/", "s3://photos/nowhere/"),
        ("s3://photos/in/*.gif", "which no file matches; check the pattern"),
        ("s3://no-such-bucket/x/", "s3://no-such-bucket/x"),
    ],
)
def test_what_is_not_there_is_one_line(bucket: str, source: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        found(source)
    assert "\n" not in str(error.value)


def test_an_image_that_goes_meanwhile_has_its_reason(bucket: str) -> None:
    images = found(f"{bucket}/in/cat")
    store = fsspec.filesystem("s3")
    store.rm("photos/in/cat/1.jpg")
    assert images.read(0).data is None
    assert (images.read(0).error or "").startswith("does not exist")
    store.pipe_file("photos/in/cat/1.jpg", b"cat/1.jpg")


ANOTHER = """
import sys
from platform.config.sections import StorageConfig
from platform.data.storage import Storage
Storage(StorageConfig()).write(sys.argv[1], b"of another process")
"""


def test_what_another_process_writes_is_found_though_its_folder_was_listed(bucket: str) -> None:
    """As blocks that workers of Ray write."""
    storage, place = Storage(STORAGE), f"{bucket}/rows.csv.parts"
    storage.write(f"{place}/about.json", b"{}")
    assert storage.list(place, "") == [("about.json", 2)]
    subprocess.run([sys.executable, "-c", ANOTHER, f"{place}/000000.parquet"], cwd=ROOT, check=True)
    assert storage.read(f"{place}/000000.parquet") == b"of another process"
    assert [name for name, _ in storage.list(place, ".parquet")] == ["000000.parquet"]
