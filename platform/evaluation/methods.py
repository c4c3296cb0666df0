"""What there is beyond the paper's table, on the same images: whole images, blends of the members; kept in a file.

In: the members' folders of probabilities. Out: for each method its scores, how sure they are, what it costs, and
whether it is better than the plain mean of all members and crops.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from platform.config.checks import ConfigError
from platform.evaluation.kept import DAMAGE, digest_of
from platform.evaluation.method import ONE_CROP, PLAIN, SNAPSHOTS, TEACHER, TEACHERS_BEST, WHOLE, Method
from platform.evaluation.metrics import Scores
from platform.evaluation.statistics import calibration
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.statistics.paired import Paired, corrected, paired
from platform.files import write_atomically
from platform.text import first_line

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("platform")
SAID = {
    "weighted": "weighted mean",
    "greedy": "greedy selection",
    "temperature": "plain mean, tempered",
    "last": "newest weights",
    "ema": "exponential average",
    "polyak": "uniform average (SWA)",
    SNAPSHOTS: "snapshots of each cycle",
}
RULES = 1  # raise it when other numbers are made of the same probabilities


@dataclass(frozen=True)
class TeacherWanted:
    """The networks that the members have learnt from."""

    members: dict[str, Path]  # name -> folder of probabilities, of the same images
    views: int  # crops of each image


@dataclass(frozen=True)
class Wanted:
    """What is compared with the plain mean."""

    views: int  # crops of each image
    blends: bool
    whole: dict[str, Path] = field(default_factory=dict)  # member -> folder of its whole images; empty: not asked for
    kept: dict[str, dict[str, Path]] = field(default_factory=dict)  # method -> network -> folder: of the same trainings
    teacher: TeacherWanted | None = None  # None: there is none, or it was not evaluated

    def __bool__(self) -> bool:
        return self.blends or bool(self.whole) or bool(self.kept) or self.teacher is not None


def kept_methods(
    members: dict[str, Path], wanted: Wanted, file: Path, say: Callable[[str], None] = print
) -> list[Method]:
    """The methods, computed only where `file` has not these; none where none are wanted.

    Args:
        members: name -> folder of probabilities.
        wanted: what is compared.
        file: where they are kept.
        say: told before they are computed.

    Raises:
        ConfigError: probabilities are missing or damaged, or do not go together.
    """
    if not wanted:
        return []
    try:
        digest = _digest(members, wanted)
        found = _read(file, digest)
        if found is None:
            say("comparing with the plain mean: " + ", ".join(_kinds(wanted)) + " ...")
            found = methods_of(members, wanted)
            _keep(found, digest, file)
    except DAMAGE as error:
        raise ConfigError(
            f"no methods of {', '.join(members)}: {type(error).__name__}: {first_line(error)}; evaluate again with "
            "job=evaluate"
        ) from error
    return found


def _keep(methods: list[Method], digest: str, file: Path) -> None:
    content = {"digest": digest, "methods": [asdict(each) for each in methods]}
    try:
        write_atomically(file, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        log.warning("%s cannot be written (%s); the next launch compares again", file, first_line(error))


def methods_of(members: dict[str, Path], wanted: Wanted) -> list[Method]:
    """The methods, the plain mean first. Holds the members' means of all images in memory: members x images x classes x
    4 bytes, and half of it again.

    Raises:
        ValueError: or another of `DAMAGE`: probabilities are missing or damaged, or do not go together.
    """
    import torch  # takes a second, which kept methods need not

    from platform.evaluation.blends import blends
    from platform.evaluation.probabilities import MemberProbabilities

    opened = {name: MemberProbabilities(folder) for name, folder in members.items()}
    first, names = next(iter(opened.values())), list(members)
    valid_N = torch.stack([each.valid_N for each in opened.values()]).all(0)
    means_MNK = torch.empty(len(opened), first.samples, first.classes)  # stacking would take twice as much
    for place, each in enumerate(opened.values()):
        means_MNK[place] = each.means(wanted.views)
    crops, images = f"{wanted.views} crop{'s' * (wanted.views > 1)}", _Images(first.labels_N, valid_N)
    found = [images.method(PLAIN, f"plain mean, {crops}", len(names), len(names) * wanted.views, means_MNK.mean(0))]
    if wanted.blends:
        for each in blends(means_MNK, first.labels_N, valid_N, names):
            cost, said = each.networks * wanted.views, SAID[each.name]
            found.append(replace(images.method(each.name, said, each.networks, cost, each.probs_NK), detail=each.said))
    if wanted.whole:
        found.append(_whole_images(images, wanted.whole))
    found += [_kept_networks(images, name, folders, wanted.views) for name, folders in wanted.kept.items()]
    if wanted.teacher:
        if wanted.views > 1:
            one_NK = torch.stack([each.means(1) for each in opened.values()]).mean(0)
            found.append(images.method(ONE_CROP, "plain mean, 1 crop", len(names), len(names), one_NK))
        found += _teacher(images, wanted.teacher)
    tested = corrected([images.against(each) for each in found[1:]])
    return [found[0], *(replace(each, against=test) for each, test in zip(found[1:], tested, strict=True))]


def _whole_images(images: "_Images", folders: dict[str, Path]) -> Method:
    from platform.evaluation.cost import read_cost
    from platform.evaluation.probabilities import MemberProbabilities

    opened = [MemberProbabilities(folder) for folder in folders.values()]
    cost = read_cost(next(iter(folders.values())))
    probs_NK = sum(each.means(each.views) for each in opened) / len(opened)
    said = f"whole images, {len(cost.sides)} scale{'s' * (len(cost.sides) > 1)}"
    found = images.method(WHOLE, said, len(opened), len(opened) * cost.of_image, probs_NK)  # pyright: ignore[reportArgumentType]
    detail = f"whole images: shorter side {', '.join(map(str, cost.sides))} px"
    return replace(found, detail=detail + (f"; of {cost.cut} longer than 4 to 1 the middle" if cost.cut else ""))


def _kept_networks(images: "_Images", name: str, folders: dict[str, Path], views: int) -> Method:
    """The plain mean of further networks of the same trainings."""
    from platform.evaluation.probabilities import MemberProbabilities

    errors: dict[str, list[float]] = {}  # network of a training -> of each member
    sum_NK = None
    for network, folder in folders.items():
        means_NK = MemberProbabilities(folder).means(views)
        alone = images.method(network, network, 1, views, means_NK)
        errors.setdefault(network.rpartition(" ")[2], []).append(1 - alone.scores.rates()["top1"])
        sum_NK = means_NK if sum_NK is None else sum_NK + means_NK
    assert sum_NK is not None
    found = images.method(name, SAID[name], len(folders), len(folders) * views, sum_NK / len(folders))
    of_members = ", means of the members" if len(next(iter(errors.values()))) > 1 else ""
    each = ", ".join(f"{network} {100 * sum(some) / len(some):.2f}%" for network, some in errors.items())
    return replace(found, detail=f"{name}, top-1 error of one{of_members}: {each}" if len(folders) > 1 else "")


def _teacher(images: "_Images", teacher: TeacherWanted) -> list[Method]:
    """The mean of the teacher's networks, and the best of them where there are several.

    Raises:
        ValueError: it was evaluated on images with other labels.
    """
    from platform.evaluation.probabilities import MemberProbabilities

    views, crops = teacher.views, f"{teacher.views} crop{'s' * (teacher.views > 1)}"
    best, best_NK, sum_NK = None, None, None  # a teacher has a network
    for name, folder in teacher.members.items():
        opened = MemberProbabilities(folder)
        images.require_same(opened.labels_N, opened.valid_N)
        means_NK = opened.means(views)
        each = images.method(TEACHERS_BEST, f"its best, {crops}", 1, views, means_NK)
        each = replace(each, detail=f"its best: {name}")
        if best is None or each.scores.top1 > best.scores.top1:
            best, best_NK = each, means_NK
        sum_NK = means_NK if sum_NK is None else sum_NK + means_NK
    assert best is not None
    assert best_NK is not None
    assert sum_NK is not None
    networks = len(teacher.members)
    whole = images.method(TEACHER, f"teacher, {crops}", networks, networks * views, sum_NK / networks)
    if networks == 1:
        return [whole]
    return [whole, replace(images.method(TEACHERS_BEST, best.said, 1, views, best_NK), detail=best.detail)]


class _Images:
    """The labels that methods are scored by, and which images each is right about."""

    def __init__(self, labels_N: "Tensor", valid_N: "Tensor") -> None:
        self._labels, self._valid = labels_N, valid_N
        self._right: dict[str, NDArray[np.bool_]] = {}

    def method(self, name: str, said: str, networks: int, cost: float, probs_NK: "Tensor") -> Method:
        """Score it; what it is compared with comes later."""
        from platform.evaluation.metrics import rank_of_label

        scores = Scores.of(probs_NK, self._labels, self._valid)
        kept_NK = probs_NK[self._valid]
        right = (rank_of_label(kept_NK, self._labels[self._valid]) < 1).numpy()
        self._right[name] = right
        confidence = (kept_NK.amax(1) / kept_NK.sum(1)).numpy()
        interval = wilson(scores.samples - scores.top1, scores.samples)
        return Method(name, said, networks, float(cost), scores, interval, calibration.ece(confidence, right), None)

    def require_same(self, labels_N: "Tensor", valid_N: "Tensor") -> None:
        """Whether other probabilities are of the same images.

        Raises:
            ValueError: they have other labels.
        """
        same = len(labels_N) == len(self._labels)
        if not (same and bool((labels_N == self._labels)[self._valid & valid_N].all())):
            raise ValueError("the teacher was evaluated on other images")

    def against(self, method: Method) -> Paired:
        """It and the plain mean, on the same images."""
        return paired(self._right[method.name], self._right[PLAIN])


def _kinds(wanted: Wanted) -> Iterator[str]:
    if wanted.blends:
        yield "blends"
    if wanted.whole:
        yield "whole images"
    if wanted.kept:
        yield "further networks of the same training"
    if wanted.teacher:
        yield "the teacher"


def _digest(members: dict[str, Path], wanted: Wanted) -> str:
    parts = [RULES, wanted.blends, digest_of(members, [wanted.views])]
    parts += [digest_of(wanted.whole, [])] if wanted.whole else []
    parts += [[name, digest_of(folders, [])] for name, folders in wanted.kept.items()]
    parts += [["teacher", digest_of(wanted.teacher.members, [wanted.teacher.views])]] if wanted.teacher else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(file: Path, digest: str) -> list[Method] | None:
    """None: it has none, or those of something else."""
    try:
        content = json.loads(file.read_text())
        return [Method.of_json(each) for each in content["methods"]] if content["digest"] == digest else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s is damaged (%s); methods are compared again", file, first_line(error))
        return None
