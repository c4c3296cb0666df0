"""The table of metrics in docs/monitoring.md, from platform/monitoring/metrics.py.

In: the page. Out: the page with the table anew. `make docs` writes it.
"""

from platform.checkout import ROOT
from platform.monitoring.metrics import METRICS, Metric

PAGE = ROOT / "docs" / "monitoring.md"
BEGIN, END = "<!-- written by make docs -->\n", "<!-- until here -->\n"
HEAD = "| metric | unit | labels | meaning |\n|---|---|---|---|\n"


def page(text: str) -> str:
    """The page's text with a new table."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{HEAD}{''.join(map(_line, METRICS))}{END}{rest.partition(END)[2]}"


def _line(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.unit} | {labels} | {metric.meaning} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
