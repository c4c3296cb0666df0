"""Methods beyond the paper's table, as a table: what each gains over the plain mean, and what it costs.

In: methods. Out: cells for a terminal, Markdown and HTML, lines of `methods.csv`, notes.
"""

from collections.abc import Iterator

from platform.evaluation.member_table import short_p
from platform.evaluation.method import SNAPSHOTS, TEACHER, TEACHERS_BEST, WHOLE, Method
from platform.evaluation.verdict import interval_text

TITLE = "Beyond the paper's table"
HEADINGS = ["", "networks", "cost", "top-1 error", "95% interval", "top-5 error", "NLL", "ECE", "vs plain", "p"]
CSV_HEADINGS = ["method", "networks", "cost", "top1_error", "top1_error_low", "top1_error_high", "top5_error", "loss"]
CSV_HEADINGS += ["ece", "gain", "gain_low", "gain_high", "p", "p_holm", "detail"]
RULES = {
    "weighted": "weighted: the weights with the highest likelihood (EM).",
    "greedy": "greedy: members are added with replacement, each time that of the best top-1 (Caruana et al. 2004).",
    "temperature": "temperature: of the lowest NLL (Guo et al. 2017); it changes no class.",
    SNAPSHOTS: "snapshots: the weights at the end of each cycle of the learning rate (Huang et al. 2017), their mean.",
    WHOLE: "whole images: the mean of the network at every position, also of the mirror image where those count.",
    TEACHER: "teacher: the plain mean of the networks that were learnt from (Hinton et al. 2015).",
    TEACHERS_BEST: "its best: the network chosen by these images, so that its error flatters it.",
}
NOT_CHOSEN = (SNAPSHOTS, WHOLE, TEACHER, TEACHERS_BEST)
CHOSEN = "What is chosen is chosen on one half of the images and scored on the other, both ways: no image has chosen."
COST = "cost: forward passes of a crop for an image, of whole images by their pixels (multiply-adds)."
VS_PLAIN = "vs plain: points of top-1 over the plain mean; p: exact McNemar test of that, with Holm's correction."


def cells(method: Method) -> list[str]:
    """A method as text."""
    rates, against = method.scores.rates(), method.against
    return [
        method.said,
        str(method.networks),
        f"{method.cost:,.0f}" if method.cost >= 100 or method.cost == int(method.cost) else f"{method.cost:.1f}",
        f"{100 * (1 - rates['top1']):.2f}%",
        interval_text(method.interval),
        f"{100 * (1 - rates['top5']):.2f}%",
        f"{rates['loss']:.4f}",
        f"{method.ece:.3f}",
        f"{100 * against.difference:+.2f}" if against else "",
        short_p(against.p_holm) if against else "",
    ]


def notes(methods: list[Method]) -> list[str]:
    """What the figures mean."""
    names = [each.name for each in methods]
    rules = [rule for name, rule in RULES.items() if name in names]
    chosen = [CHOSEN] if any(name in names for name in RULES if name not in NOT_CHOSEN) else []
    return [*rules, *chosen, COST, VS_PLAIN]


def details(methods: list[Method]) -> list[str]:
    """What was chosen, and of what a row is the mean."""
    return [f"{each.detail}." for each in methods if each.detail]


def csv_rows(methods: list[Method]) -> Iterator[list[object]]:
    """The head and lines of `methods.csv`, unrounded; errors and gains are shares of one."""
    yield [*CSV_HEADINGS]
    for each in methods:
        rates, against = each.scores.rates(), each.against
        errors = [1 - rates["top1"], each.interval.low, each.interval.high, 1 - rates["top5"], rates["loss"], each.ece]
        tests: list[object] = [None] * 5
        if against:
            tests = [against.difference, against.interval.low, against.interval.high, against.p, against.p_holm]
        yield [each.name, each.networks, each.cost, *errors, *tests, each.detail]
