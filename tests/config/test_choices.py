"""Names stand once, and each leads to a function."""

import json
import subprocess
import sys

import pytest

from platform.checkout import ROOT
from platform.config import choices
from platform.config.choices import chosen

KINDS = {name: kind for name, kind in vars(choices).items() if name.isupper()}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in KINDS[kind]])
def test_every_name_leads_to_a_function(kind: str, name: str):
    assert callable(chosen(KINDS[kind][name]))


def test_settings_are_checked_without_what_their_names_lead_to():
    code = (
        "import json, sys; from platform.config.sections import Config; Config(); "
        "print(json.dumps([name for name in sys.modules if name.startswith(('torch', 'numpy', 'platform.training'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_every_schedule_can_be_chosen_by_a_file():
    files = [path.read_text() for path in (ROOT / "conf" / "schedule").glob("*.yaml")]
    assert all(any(f"name: {name}\n" in text for text in files) for name in KINDS["SCHEDULES"])
