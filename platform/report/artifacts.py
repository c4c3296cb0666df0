"""The report of an experiment as files: the page, and its pictures as SVG.

In: an experiment's folder and scores. Out: `report.html` and `pictures/` there. Whatever goes wrong here is said in a
line: a run does not fail for its report.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from platform.config.experiment import Experiment
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder
from platform.experiment.places import suffix_of
from platform.files import write_atomically
from platform.text import first_line

log = logging.getLogger("platform")


def report_page(folder: Path, split: str = "val") -> Path:
    """Where the page of an experiment's folder is."""
    return folder / f"report{suffix_of(split)}.html"


def write_report(
    experiment: Experiment, folder: ExperimentFolder, scores: EnsembleScores | None, split: str = "val"
) -> list[Path]:
    """Write `report.html` (of the test split `report-test.html`) and its pictures into the experiment's folder.

    Nothing is raised: an error is logged as a warning, and what could be written stays.

    Args:
        experiment: its config and members.
        folder: of the experiment.
        scores: of the finished members; None: there are none.
        split: that was evaluated.

    Returns:
        the paths of the page and of the pictures; empty where the page could not be written.
    """
    written: list[Path] = []
    try:
        for path in _writing(experiment, folder, scores, split):
            written.append(path)
    except Exception as error:
        what = "the pictures beside the report" if written else "the report"
        log.warning("%s could not be written (%s: %s)", what, type(error).__name__, first_line(error))
        log.debug("the report", exc_info=True)
    return written


def _writing(
    experiment: Experiment, folder: ExperimentFolder, scores: EnsembleScores | None, split: str
) -> Iterator[Path]:
    from platform.report.material import Material
    from platform.report.page import Page  # with torch, which the plan of an experiment need not import

    page = Page.of(Material(experiment, folder, scores, split))
    for fault in page.faults:
        log.warning("the report lacks a part: %s", fault)
    path = report_page(folder.path, split)
    write_atomically(path, page.html())
    yield path
    pictures = folder.path / f"pictures{suffix_of(split)}"
    pictures.mkdir(exist_ok=True)
    for picture in page.pictures:
        path = pictures / f"{picture.name}.svg"
        write_atomically(path, picture.drawing.file)
        yield path
