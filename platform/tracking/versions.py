"""What is written on a version of the registry: where it comes from, as tags, and why it has its alias.

In: a candidate, the gate's decision. Out: tags and Markdown. Pure.
"""

from collections.abc import Mapping

from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.verdict import interval_text
from platform.tracking.candidates import Candidate
from platform.tracking.gate import Decision

VALIDATION, VIEWS = "data.val", "views"  # tags that are read again


def lineage(found: Candidate, members: Mapping[str, str]) -> dict[str, str]:
    """Tags.

    Args:
        found: the candidate.
        members: member -> address of its own version.
    """
    tags = {
        "experiment": found.label,
        "run": found.run,
        "commit": found.commit,
        "data": found.data,
        VALIDATION: found.validation,
        VIEWS: views_text(found),
        "members": "; ".join(f"{name}: {address}" for name, address in members.items()),
    }
    return {key: value for key, value in tags.items() if value}


def views_text(found: Candidate) -> str:
    """The numbers of views that were scored."""
    return ",".join(map(str, found.images.view_counts))


def description(found: Candidate, said: Decision, members: Mapping[str, str]) -> str:
    """Why the version has its alias, how good it is, where it comes from."""
    images = found.images
    right, count = int(images.right_EN[images.ensemble].sum()), int(images.valid_N.sum())
    lines = [f"{said.alias.capitalize()}: {said.said}"]
    if count:
        error, interval = 100 * (1 - right / count), interval_text(wilson(count - right, count))
        crops = f"{images.views} crop{'s' * (images.views > 1)}"
        lines.append(f"Top-1 error {error:.2f}% (95% CI {interval}) with {crops} of {count:,} validation images.")
    if found.tried > 1:
        lines.append(f"Chosen among {found.tried} trials of a sweep by these images: on others expect a little less.")
    lines.append(f"Of {found.label}, MLflow run {found.run}, commit {found.commit or 'unknown'}; data {found.data}.")
    if members:
        lines.append(f"Members: {', '.join(f'{name} {address}' for name, address in members.items())}.")
    return "\n\n".join(lines)
