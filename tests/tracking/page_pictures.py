"""The pictures of MLflow's pages in the docs: `python -m tests.tracking.page_pictures` writes them to docs/screens.

In: an experiment that `made_runs` makes up. Out: what its link shows in Chromium.
"""

import os
import tempfile
import time
from pathlib import Path

from platform.chaos.servers import MlflowServer
from platform.checkout import ROOT
from platform.config.tracking import TrackingConfig
from platform.tracking.links import pages_of
from tests.browser import browser
from tests.tracking.made_runs import made_training, packed_digits

DRAWN_S = 4.0  # after the first rows and lines
CLOSES_ASSISTANT = """(() => {
    const close = document.querySelector('[aria-label="Close"], [aria-label="close"]');
    close?.click();
    return !!close;
})()"""  # it opens by itself in a browser that was never here, once
CLOSES_NOTICE = """[...document.querySelectorAll('button')]
    .find(each => each.previousElementSibling?.innerText === 'Exit shared view')?.click()"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.chdir(folder)
        with MlflowServer(folder) as server, browser(1400, 800) as page:
            made = made_training(
                folder, TrackingConfig(uri=server.url), packed_digits(folder), "+experiment=googlenet_ens",
                "evaluation.views=[1,10]", steps=2000,
            )  # fmt: skip
            pages = pages_of(made)
            assert pages
            page.open(server.url)
            page.wait_until(CLOSES_ASSISTANT)
            for name, address in {"runs": pages.runs, "charts": f"{pages.runs}&compareRunsMode=CHART"}.items():
                page.open(address)
                page.wait_for("wider")
                page.evaluate(CLOSES_NOTICE)
                time.sleep(DRAWN_S)
                page.screenshot(ROOT / "docs" / "screens" / f"mlflow-{name}.png")


if __name__ == "__main__":
    main()
