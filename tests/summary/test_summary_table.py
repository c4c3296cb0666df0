"""The table for a terminal, as Markdown and as CSV."""

import csv
import io

import pytest

from platform.summary.speed import Speed
from platform.summary.table import bytes_text, count, csv_table, lines, markdown_page
from tests.summary.tables import googlenet, torchvisions


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "vit_b_32", "inception_v3", "shufflenet_v2_x0_5"])
def test_it_fits_a_terminal_of_100_columns(name: str):
    network = googlenet() if name == "googlenet" else torchvisions(name, 299 if name == "inception_v3" else 224)
    said = lines(network, Speed("CPU, 2 threads", 8, 22.7, 8.6, (4, 1)))
    assert max(map(len, said)) <= 100
    assert "…" not in "\n".join(said)
    assert said[-1] or said[-2]


def test_a_row_says_what_the_paper_says_and_more():
    said = "\n".join(lines(googlenet()))
    assert "22 layers deep (27 with poolings)" in said
    (row,) = (line for line in said.splitlines() if line.startswith(" 3a "))
    assert row.split()[-8:] == ["28x28x256", "2", "163,696", "128", "M", "3.76", "MB", "59"]
    assert "6,990,272" in said
    assert "auxiliary.4a*" in said


def test_what_was_measured_is_said_with_the_device():
    speed = Speed("NVIDIA H200", 64, 9_876.54, 1_234.5, (20, 10))
    said = " ".join(lines(googlenet(), speed))
    assert "9,876.5 images/s forward, 1,234.5 images/s forward and backward (NVIDIA H200, float32" in said
    assert "Measured" not in "\n".join(lines(googlenet()))


def test_csv_has_whole_numbers_that_add_up():
    rows = list(csv.DictReader(io.StringIO(csv_table(googlenet()))))
    inference = [row for row in rows if row["auxiliary"] == "no"]
    assert sum(int(row["weights"]) for row in inference) == 6_990_272
    assert sum(int(row["multiply_adds"]) for row in inference) == googlenet().multiply_adds
    assert sum(int(row["parameters"]) for row in rows) == googlenet().parameters
    assert next(row for row in rows if row["stage"] == "4e")["receptive_field"] == "427"


def test_markdown_has_a_row_for_each_and_no_stray_columns():
    page = markdown_page(googlenet())
    table = [line.replace("\\|", "") for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {9}
    assert len(table) == 2 + len(googlenet().stages) + 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (9_994, "9.99 K"),
        (99_960, "100 K"),
        (999_600, "1.00 M"),
        (1.58e9, "1.58 G"),
    ],
)
def test_counts_have_three_digits(number: float, text: str):
    assert count(number) == text


def test_small_memory_is_not_shown_as_none():
    assert [bytes_text(size) for size in (0, 4_000, 3.76e6, 154e6)] == ["", "4 kB", "3.76 MB", "154 MB"]
