"""The page of an experiment's report: the verdict first, then what it rests on, then how the run went.

In: material. Out: HTML by `report.html.jinja`, with all text from outside escaped, and the pictures that are in it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from platform.evaluation.images import ImageResults
from platform.experiment.origin import Origin
from platform.redaction import redacted
from platform.report import (
    calibration,
    confusion,
    crops,
    curves,
    disagreement,
    errors,
    hardest,
    networks,
    results,
    steps,
    timeline,
)
from platform.report.calibration import Confidence
from platform.report.frame import template
from platform.report.material import Material
from platform.report.section import Faults, Picture, Section

TEMPLATE = Path(__file__).with_name("report.html.jinja")
Part = Callable[[Material], Section]


def _curves(of: Material) -> Section:
    return curves.section(of.curves, of.lines, of.scores.samples if of.scores else 1)


def _disagreement(of: Material) -> Section:
    images = of.images
    return disagreement.section(images.names, images.predicted_EN[:-1, images.valid_N], of.lines)


def _confusion(of: Material) -> Section:
    images = of.images
    predicted_N = images.predicted_EN[of.shown, images.valid_N]
    section = confusion.section(images.labels_N[images.valid_N], predicted_N, of.classes)
    return replace(section, notes=[f"Of {of.best_row}, the best row.", *section.notes]) if of.best_row else section


def _reliability(of: Material) -> Section:
    images = of.images
    members = [_confidence(images, number, name) for number, name in enumerate(images.names)]
    if len(members) == 1:
        return calibration.section(members[0], [], of.lines)
    shown = _confidence(images, of.shown, of.best_row or f"ensemble of {len(members)}")
    return calibration.section(shown, members, of.lines)


def _confidence(images: ImageResults, number: int, name: str) -> Confidence:
    return Confidence(name, images.confidence_EN[number, images.valid_N], images.right_EN[number, images.valid_N])


def _hardest(of: Material) -> Section:
    return hardest.section(of.images, of.images_of(of.split), of.classes, of.best_row)


PARTS: dict[str, tuple[str, Part]] = {  # anchor -> title and function, in the page's order
    "results": (results.TITLE, lambda of: results.section(of.known_scores, of.split)),
    "errors": (errors.TITLE, lambda of: errors.section(of.known_scores, of.lines)),
    "curves": (curves.TITLE, _curves),
    "disagreement": (disagreement.TITLE, _disagreement),
    "confusion": (confusion.TITLE, _confusion),
    "reliability": (calibration.TITLE, _reliability),
    "hardest": (hardest.TITLE, _hardest),
    "crops": (crops.TITLE, lambda of: crops.section(of.images_of("train"), of.members)),
    "timeline": (timeline.TITLE, lambda of: timeline.section(of.attempts)),
    "steps": (steps.TITLE, lambda of: steps.section(of.series, of.curves, of.batch_sizes)),
    "networks": (networks.TITLE, lambda of: networks.section(of.members)),
}


@dataclass(frozen=True)
class Page:
    """The sections of a report, and what could not be made."""

    material: Material
    sections: list[Section]
    faults: list[str]

    @classmethod
    def of(cls, material: Material) -> "Page":
        """Make every section; one that fails is a line in `faults`."""
        faults = Faults()

        def made(anchor: str, title: str, part: Part) -> Section:
            return faults.made(anchor, title, lambda: part(material))

        return cls(material, [made(anchor, title, part) for anchor, (title, part) in PARTS.items()], faults.lines)

    @property
    def pictures(self) -> list[Picture]:
        """Of all sections."""
        return [picture for section in self.sections for picture in section.all_pictures]

    def html(self) -> str:
        """The page as HTML."""
        of = self.material
        return template(TEMPLATE).render(
            name=of.experiment.name,
            verdict=results.verdict(of.scores),
            cautions=results.cautions(of.scores, of.errors),
            sections=self.sections,
            provenance=_provenance(of),
        )


def _provenance(of: Material) -> dict[str, str]:
    config, origin = of.experiment.config, Origin.read(of.folder.path)
    known = {"experiment": of.experiment.name, "results": str(of.folder.path)}
    if origin:
        devices = ", ".join([origin.cpu, *origin.gpus])
        known |= {
            "command": origin.command,
            "begun": f"{origin.began} on {origin.host}: {devices}",
            "commit": origin.commit,
            "software": ", ".join(_versions(origin)),
        }
    known |= {"report of": time.strftime("%F %T %z"), "images": of.data, "seed": str(config.seed)}
    members = {f"member {name}": overrides for name, overrides in config.ensemble.members.items()}
    known |= {name: " ".join(overrides) or "as the experiment" for name, overrides in members.items()}
    return {name: redacted(text) for name, text in known.items()}


def _versions(origin: Origin) -> list[str]:
    packages = [name for name in ("torch", "ray", "numpy") if name in origin.packages]
    return [f"Python {origin.python}", *(f"{name} {origin.packages[name]}" for name in packages)]
