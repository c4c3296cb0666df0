"""`python -m platform.gpu_check`: the self-test of a machine with GPUs, from a checkout, with torch alone.

In: the command line. Out: a table, a JSON file, and an exit status: 0 all checks passed, 1 some failed, 2 there is
nothing to test.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch

from platform.config.checks import ConfigError
from platform.gpu_check import report, sizes
from platform.gpu_check.budget import Budget, Runner
from platform.gpu_check.context import Context
from platform.gpu_check.machine import Machine, no_gpu
from platform.gpu_check.parts import PARTS
from platform.gpu_check.results import Results

SAID = "The self-test of a machine with GPUs: is what it computes right, and how fast is it?"
SIZES = {"gpu": sizes.GPU, "cpu": sizes.CPU, "tiny": sizes.TINY}


def main(arguments: list[str] | None = None) -> int:
    """Run the self-test; returns the exit status."""
    options = _options().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(no_gpu(), file=sys.stderr)
        return 2
    known = {part.name for part in PARTS}
    unknown = [name for name in options.parts if name not in known]
    if unknown:
        print(f"--parts has {', '.join(unknown)}; give some of {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    if not 0 < options.minutes <= 24 * 60:
        print(f"--minutes is {options.minutes:g}; give more than 0, at most {24 * 60}", file=sys.stderr)
        return 2
    if options.photos and not options.photos.is_file():
        print(f"--photos is {options.photos}, which is no file; give a tar of JPEG files", file=sys.stderr)
        return 2
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    budget, results = Budget(options.minutes), Results()
    device = torch.device("cuda", 0) if options.device == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    machine, file = Machine.of(device), options.out / report.FILE
    chosen = sizes.GPU if device.type == "cuda" else sizes.CPU
    parts = [part for part in PARTS if not options.parts or part.name in options.parts]

    def save() -> None:
        report.save(machine, results, options.minutes, budget.passed_s, file)

    def end() -> None:
        report.show(machine, results, budget.passed_s, file)
        sys.stdout.flush()
        os._exit(1)  # the part under way cannot be stopped otherwise

    try:
        save()  # an --out that cannot be written to is known now
    except OSError as error:
        print(f"--out is {options.out}, which cannot be written to ({error}); give another folder", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
        context = Context(device, SIZES.get(options.size) or chosen, Path(folder), options.photos)
        runner = Runner(budget, results, save)
        timer = runner.give_up(end)
        try:
            runner.run(parts, context, device)
        finally:
            timer.cancel()
    save()
    report.show(machine, results, budget.passed_s, file)
    return 1 if results.failed else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platform.gpu_check", description=SAID)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what is tested (default: cuda)")
    parser.add_argument("--minutes", type=float, default=10.0, help="within which all of it ends (default: 10)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(os.environ.get("OUT") or "runs/gpu_check"),
        help="folder of the JSON (default: the environment variable OUT, or runs/gpu_check)",
    )
    parser.add_argument("--parts", nargs="*", default=[], metavar="PART", help="only these (default: all)")
    parser.add_argument("--photos", type=Path, help="a tar of JPEG files to read (default: made ones)")
    parser.add_argument("--size", choices=tuple(SIZES), help="how much is done (default: as the device can)")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigError as error:
        sys.exit(str(error))
