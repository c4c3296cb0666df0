"""A manifest as YAML, to read, to keep beside the experiment, and to apply.

In: the manifest. Out: YAML with a head that says where it came from.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from platform.cluster.submission import COMMAND
from platform.config.checks import ConfigError
from platform.text import first_line


def text(manifest: dict[str, Any], overrides: list[str], notes: Sequence[str] = ()) -> str:
    """The manifest as YAML, headed by the command that made it, the one that applies it, and notes."""
    shown = [override for override in overrides if not override.startswith("cluster.render_to=")]
    command = shlex.join([*COMMAND, *shown])
    head = f"# Rendered, not written: {command}\n# Run it with: kubectl apply -f THIS_FILE\n"
    head += "".join(f"# Note: {note}\n" for note in notes)
    return head + yaml.dump(manifest, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    """Without YAML's anchors, and with lists set in."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def write(rendered: str, to: str) -> None:
    """Write the YAML into a file, or to the terminal for "-".

    Raises:
        ConfigError: it cannot be written there.
    """
    if to == "-":
        sys.stdout.write(rendered)
        return
    try:
        Path(to).write_text(rendered)
    except OSError as error:
        raise ConfigError(f"cluster.render_to is {to}, which cannot be written ({first_line(error)})") from error
    print(f"written to {to}; run it with kubectl apply -f {to}")
