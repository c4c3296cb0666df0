"""Scores as `scores.json`, with the digest of what they were computed from: the probabilities of seven networks and 144
views are read once, not at every launch of a finished experiment.

In: the members' folders of probabilities. Out: what `ensemble.score` makes of them, from the file if nothing changed.
"""

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform.config.checks import ConfigError
from platform.evaluation.images import has_images, write_images
from platform.evaluation.metrics import Scores
from platform.evaluation.seal import SEAL
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores
from platform.files import write_atomically
from platform.text import first_line

if TYPE_CHECKING:
    from platform.evaluation.ensemble import Spread

log = logging.getLogger("platform")
RULES = 2  # raise it when `ensemble.score` makes other numbers of the same probabilities
AGAIN = "evaluate again with job=evaluate"
DAMAGE = (ValueError, KeyError, TypeError, OSError, EOFError, RuntimeError, zipfile.BadZipFile)  # of files from a disk


def kept_scores(
    members: dict[str, Path],
    view_counts: list[int],
    file: Path,
    say: Callable[[str], None] = print,
    images_file: Path | None = None,
    remedy: str = AGAIN,
    spread: "Spread | None" = None,
) -> EnsembleScores:
    """The scores of members, by name, from their folders of probabilities; computed only where `file` has not these.

    Args:
        members: name -> folder of probabilities.
        view_counts: numbers of views to score with.
        file: where scores are kept.
        say: told before it is computed, which can take minutes.
        images_file: where what was said of each image is kept (`images.npz`); None: nowhere.
        remedy: what an error says to do.
        spread: scores in other processes where there is much to read; None: those of this machine.

    Raises:
        ConfigError: probabilities are missing or damaged, or the members' do not go together.
    """
    try:
        digest = digest_of(members, view_counts)
    except OSError as error:
        raise ConfigError(
            f"the probabilities of {', '.join(members)} cannot be read ({first_line(error)}); {remedy}"
        ) from error
    found = _read(file, digest)
    if found is not None and (images_file is None or has_images(images_file, digest)):
        return found
    say(f"scoring {len(members)} member(s) with up to {max(view_counts)} view(s) ...")
    scores = scored(members, view_counts, remedy, spread)
    try:
        if images_file is not None and scores.images is not None:
            write_images(images_file, scores.images, digest)
        content = {"digest": digest, "scores": _content(scores)}
        write_atomically(file, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        log.warning("%s cannot be written (%s); the next launch scores again", file, first_line(error))
    return scores


def scored(
    members: dict[str, Path], view_counts: list[int], remedy: str = AGAIN, spread: "Spread | None" = None
) -> EnsembleScores:
    """The scores of members, computed from their probabilities; nothing is kept.

    Args:
        members: name -> folder of probabilities.
        view_counts: numbers of views to score with.
        remedy: what an error says to do.
        spread: scores in other processes where there is much to read; None: those of this machine.

    Raises:
        ConfigError: probabilities are missing or damaged, or the members' do not go together.
    """
    from platform.evaluation.ensemble import score  # torch takes a second, which kept scores need not
    from platform.evaluation.probabilities import MemberProbabilities
    from platform.evaluation.processes import of_this_machine

    opened: dict[str, MemberProbabilities] = {}
    for name, folder in members.items():
        try:
            opened[name] = MemberProbabilities(folder)
        except DAMAGE as error:
            raise ConfigError(
                f"the probabilities of {name} in {folder} cannot be read ({type(error).__name__}: "
                f"{first_line(error)}); {remedy}"
            ) from error
    try:
        return score(opened, view_counts, spread=spread or of_this_machine())
    except DAMAGE as error:
        raise ConfigError(f"no scores of {', '.join(members)}: {first_line(error)}") from error


def digest_of(members: dict[str, Path], view_counts: list[int]) -> str:
    """Over each member's seal and the name, size and time of each of its files (not their bytes: reading those is what
    this saves), and how they are scored."""
    files = {
        name: [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.iterdir())]
        + [(folder / SEAL).read_text()]
        for name, folder in members.items()
    }
    return hashlib.sha256(json.dumps([RULES, view_counts, files]).encode()).hexdigest()


def read_scores(file: Path) -> EnsembleScores | None:
    """The scores that a file has, of whatever they were computed; None: there is none, or a damaged one."""
    try:
        return _scores(json.loads(file.read_text())["scores"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read(file: Path, digest: str) -> EnsembleScores | None:
    """None: it has none, or those of something else."""
    try:
        content = json.loads(file.read_text())
        return _scores(content["scores"]) if content["digest"] == digest else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s is damaged (%s); scores are computed again", file, first_line(error))
        return None


def _scores(content: dict[str, Any]) -> EnsembleScores:
    return EnsembleScores(
        names=[str(name) for name in content["names"]],
        samples=int(content["samples"]),
        members={name: _by_views(each) for name, each in content["members"].items()},
        ensemble=_by_views(content["ensemble"]),
        alternatives={note: _sums(each) for note, each in content["alternatives"].items()},
        summary=Summary.of_json(content["summary"]),
        left_out=[str(note) for note in content.get("left_out", [])],
    )


def _content(scores: EnsembleScores) -> dict[str, Any]:
    """As plain dicts, without what is kept elsewhere and what the paper says."""
    content = asdict(replace(scores, images=None, methods=[]))
    return {key: value for key, value in content.items() if key not in ("images", "methods", "table", "compared")}


def _by_views(content: dict[str, Any]) -> dict[int, Scores]:
    return {int(views): _sums(each) for views, each in content.items()}


def _sums(content: dict[str, Any]) -> Scores:
    if not all(isinstance(value, int | float) for value in content.values()):
        raise ValueError(f"scores {content!r:.60}")
    return Scores(**content)
