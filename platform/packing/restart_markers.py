"""Restart markers in JPEGs, with which training decodes only the part of the bytes that a crop needs.

In: a JPEG's bytes, and its pixels. Out: the same image rewritten without loss by libjpeg-turbo's `jpegtran`, or the
bytes as they were, and why. Coefficients are coded anew, not computed anew; that all pixels are the same is checked.
"""

import functools
import io
import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from platform.config.checks import ConfigError
from platform.data.decode import CorruptImage, EncodedImage
from platform.data.jpeg_intervals import SAMPLINGS, edges_of, header
from platform.text import printable

PROGRAM = "jpegtran"
REMEDY = (
    "install it (Debian and Ubuntu: libjpeg-turbo-progs; Fedora: libjpeg-turbo-utils; Homebrew: jpeg-turbo) wherever "
    "packing runs, or give data.restart_markers=false"
)
COLUMNS = 8  # of tiles, about: with 16 a crop needs no less time, and a file has twice the bytes more
MOST_COLUMNS = 2 * COLUMNS
LEAST_BYTES = 65_536  # of a file: crops of smaller ones are not decoded faster
TIME_LIMIT_S = 120  # for one image, which takes 15 ms
MEMORY_LIMIT_KB = 2_000_000  # the coefficients of the largest image that is read are 1.1 GB
MOST_SCANS = 500  # of a progressive file: ten are usual, and each costs a pass over the image
MOST_GROWN = 2.0  # times the bytes

# What became of an image: it has markers, or why it has none.
REWRITTEN, ENCODED = "rewritten", "encoded with them"
SMALL, UNUSUAL, SECOND, FAILED, OTHER_PIXELS, HAD = (
    f"under {LEAST_BYTES // 1024} kB",
    "of an unusual kind (CMYK, chroma of other sizes)",
    "holding a second image",
    f"not read by {PROGRAM}",
    "other pixels",
    "having them already",
)


@dataclass
class Marked:
    """What became of the JPEGs of a packing."""

    rewritten: int = 0
    encoded: int = 0  # encoded in packing, with markers
    left: Counter[str] = field(default_factory=Counter)  # as they were, by the reason
    bytes_before: int = 0  # of those rewritten
    bytes_after: int = 0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Marked":
        """From what `record` returns."""
        return cls(**{**record, "left": Counter(record.get("left", {}))})

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"left": dict(sorted(self.left.items()))}

    def note(self, outcome: str, before: int, after: int) -> None:
        """Count one JPEG.

        Args:
            outcome: REWRITTEN, ENCODED, or why it has no markers.
            before: bytes of its file in the source.
            after: bytes as packed.
        """
        if outcome == ENCODED:
            self.encoded += 1
        elif outcome == REWRITTEN:
            self.rewritten += 1
            self.bytes_before += before
            self.bytes_after += after
        else:
            self.left[outcome] += 1

    def add(self, other: "Marked") -> None:
        """Count those of another shard, too."""
        self.rewritten += other.rewritten
        self.encoded += other.encoded
        self.left += other.left
        self.bytes_before += other.bytes_before
        self.bytes_after += other.bytes_after

    def line(self) -> str:
        """How many have markers, what they cost, and how many have none and why."""
        said = []
        if self.rewritten:
            more = self.bytes_after / self.bytes_before - 1
            sizes = f"{self.bytes_before / 1e6:,.1f} MB to {self.bytes_after / 1e6:,.1f} MB"
            said.append(f"{self.rewritten:,} JPEGs rewritten ({sizes}, {more:+.1%})")
        if self.encoded:
            said.append(f"{self.encoded:,} {ENCODED}")
        said += [f"{count:,} without, {reason}" for reason, count in self.left.most_common()]
        return f"restart markers: {'; '.join(said) or 'there is no JPEG'}"


class Program(NamedTuple):
    """`jpegtran`, tried on an image."""

    path: str
    version: str


def require_program() -> Program:
    """The `jpegtran` of this machine, once it has rewritten an image as is needed here.

    Raises:
        ConfigError: it is not installed, or is of another kind.
    """
    found = _program()
    if isinstance(found, str):
        raise ConfigError(f"data.restart_markers is true, but {found}; {REMEDY}")
    return found


@functools.cache
def _program() -> Program | str:
    """The program, or what is wrong with it."""
    path = shutil.which(PROGRAM)
    if path is None:
        return f"{PROGRAM} is not installed on this machine"
    buffer = io.BytesIO()
    Image.new("RGB", (100, 20)).save(buffer, "JPEG", progressive=True, subsampling=0)
    try:
        tiles = header(_run(path, buffer.getvalue(), 1))
        version = subprocess.run([path, "-version"], capture_output=True, timeout=TIME_LIMIT_S, env={}, check=False)
    except (OSError, subprocess.SubprocessError):
        tiles = version = None
    if tiles is None or version is None or (tiles.columns, tiles.rows) != (13, 3):
        return f"{path} does not work as that of libjpeg-turbo 2.1 or later"
    return Program(path, printable((version.stdout + version.stderr).decode(errors="replace").strip()))


def with_markers(content: bytes, opened: Image.Image, pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
    """A JPEG with restart markers, and REWRITTEN; or as it was, and why.

    Args:
        content: the file.
        opened: the same, by Pillow.
        pixels: all of its pixels, `[H, W, 3]` uint8, which the result has, too.

    Raises:
        ConfigError: see `require_program`.
    """
    program = require_program()
    if len(content) < LEAST_BYTES:
        return content, SMALL
    if opened.format != "JPEG":
        return content, SECOND
    had = header(content)
    if had is not None and 1 < had.columns <= MOST_COLUMNS and edges_of(content, had) is not None:
        return content, HAD
    across = units_across(opened)
    if across is None:
        return content, UNUSUAL
    try:
        made = _run(program.path, content, interval(across))
    except (OSError, subprocess.SubprocessError):
        return content, FAILED
    tiles = header(made)
    if tiles is None or edges_of(made, tiles) is None or len(made) > MOST_GROWN * len(content):
        return content, FAILED
    try:
        same = np.array_equal(EncodedImage(made).decode(), pixels)
    except CorruptImage:
        same = False
    return (made, REWRITTEN) if same else (content, OTHER_PIXELS)


def units_across(opened: Image.Image) -> int | None:
    """Units (MCUs) in a row of a JPEG; None: it is not grey or of a usual sampling of its chroma."""
    factors = tuple(high | wide << 4 for _, wide, high, _ in getattr(opened, "layer", ()))
    if len(factors) == 1:
        return -(-opened.width // 8)
    return -(-opened.width // (8 * (factors[0] >> 4))) if factors in SAMPLINGS else None


def interval(units: int) -> int:
    """Units (MCUs) of an interval for rows of so many: a part that divides a row, near an eighth, or a whole row."""
    columns = [count for count in range(2, MOST_COLUMNS + 1) if units % count == 0]
    return units // min(columns, key=lambda count: abs(math.log(count / COLUMNS)), default=1)


def _run(path: str, content: bytes, units: int) -> bytes:
    """A JPEG rewritten by `jpegtran`, with a marker after so many units.

    Raises:
        OSError, subprocess.SubprocessError: it does not run, ends with an error or a signal, or takes too long.
    """
    command = [path, "-copy", "all", "-optimize", "-maxscans", str(MOST_SCANS), "-maxmemory", str(MEMORY_LIMIT_KB)]
    command += ["-restart", f"{units}B"]
    done = subprocess.run(
        command,
        input=content,
        capture_output=True,
        timeout=TIME_LIMIT_S,
        env={},
        start_new_session=True,  # Ctrl-C ends the packing: an image must not be packed as it was by that
        check=True,
    )
    return done.stdout
