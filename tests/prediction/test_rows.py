"""Probabilities as opinions, labels as ranks, rows as columns and back."""

from dataclasses import replace

import numpy as np

from platform.config.data import StorageConfig
from platform.data.storage import Storage
from platform.export.description import Description
from platform.prediction.images import Files, Image, Images
from platform.prediction.rows import Row, Summary, flat, of_flat, opinions_of, rows_of

MODEL = Description(["cat", "dog", "owl"], ["a", "b", "c"], 32, [0.5] * 3, [0.5] * 3, True, 1)


class Found:
    """As `platform.export.classifier.Predictions`."""

    def __init__(self, *members_MK: list[list[float]], errors: list[str | None] | None = None) -> None:
        self.members_MNK = np.array(members_MK, np.float32).swapaxes(0, 1)
        self.probs_NK = self.members_MNK.mean(0)
        self.errors = errors or [None] * len(members_MK)


AGREED = [[0.1, 0.7, 0.2], [0.2, 0.5, 0.3], [0.3, 0.6, 0.1]]
SPLIT = [[0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.7, 0.1, 0.2]]


def rows(images: list[Image], found: Found, top_k: int = 2) -> list[Row]:
    source = Images([Files([image.name for image in images])], Storage(StorageConfig()))
    return rows_of(images, source, found, MODEL, top_k)


def test_an_image_has_the_best_classes_and_every_members_best():
    (row,) = rows([Image("x.jpg", b"x")], Found(SPLIT))
    assert [(each.name, round(each.probability, 4)) for each in row.top] == [("cat", 0.5333), ("dog", 0.2667)]
    assert [(each.name, round(each.probability, 4)) for each in row.members] == [
        ("cat", 0.8),
        ("dog", 0.6),
        ("cat", 0.7),
    ]
    assert row.disagreement == 1 / 3
    assert (row.label, row.rank, row.error) == (None, None, None)


def test_images_without_bytes_or_pixels_stay_in_their_place():
    images = [Image("0", None, "gone"), Image("1", b"1", label="dog"), Image("2", b"2"), Image("3", b"3", label="owl")]
    found = Found(AGREED, [[np.nan] * 3] * 3, SPLIT, errors=[None, "torn", None])
    assert [(row.image, row.error, len(row.top), row.rank) for row in rows(images, found)] == [
        ("0", "gone", 0, None),
        ("1", None, 2, 1),
        ("2", "torn", 0, None),
        ("3", None, 2, 3),
    ]


def test_folders_that_are_no_classes_are_no_labels_but_labels_of_shards_are():
    photo, shard, number, far = (
        Image("a", b"", label="holiday"),
        Image("b", b"", label="fox", split="val"),
        Image("c", b"", label=1, split="val"),
        Image("d", b"", label=7, split="val"),
    )
    assert rows([photo], Found(AGREED))[0].label is None
    with_shards = Images([object()], Storage(StorageConfig()))  # pyright: ignore[reportArgumentType]
    found = rows_of([shard, number, far], with_shards, Found(AGREED, AGREED, AGREED), MODEL, 2)
    assert [(row.label, row.rank) for row in found] == [("fox", None), ("dog", 1), ("7", None)]
    summary = Summary(shown=9)
    summary.add(found)
    counts = summary.by_split["val"]
    assert (counts.images, counts.labelled, counts.top1, counts.strange) == (3, 1, 1, 2)


def test_of_equal_classes_the_one_with_the_smaller_number_comes_first():
    even = np.full((1, 3), 1 / 3, np.float32)
    assert [each.name for each in opinions_of(even[0], even, MODEL, 3).top] == ["cat", "dog", "owl"]


def test_a_row_of_columns_is_the_same_row():
    columns = {}
    images = [Image("x", b"", label="dog"), Image("y", b"", split="val"), Image("z", None, "torn", split="val")]
    for model in (MODEL, replace(MODEL, members=["a"])):
        found = Found(*([SPLIT, AGREED] if len(model.members) == 3 else [SPLIT[:1], AGREED[:1]]))
        source = Images([Files(["x"])], Storage(StorageConfig()))
        for row in rows_of(images, source, found, model, 2):
            columns = flat(row, model, 2)
            assert of_flat(columns, model, 2) == row
            assert list(columns) == list(flat(Row("", "", [], [], None, None, None, None), model, 2))
    assert [key for key in columns if key.startswith("member")] == []


def test_a_summary_counts_everything_and_keeps_the_first():
    images = [Image(str(n), b"", label="dog" if n % 2 else "owl") for n in range(6)] + [Image("bad", None, "torn")]
    summary = Summary(shown=2)
    summary.add(rows(images, Found(*[AGREED] * 6)))
    counts = summary.by_split[""]
    assert (summary.images, summary.failures, counts.labelled, counts.top1, counts.top5) == (7, 1, 6, 3, 6)
    assert [row.image for row in summary.rows] == ["0", "1"]
    assert [row.error for row in summary.failed] == ["torn"]
