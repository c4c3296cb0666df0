"""The members of a tar, located without reading them. Links inside it are followed, as are tars appended to it.

In: a tar's bytes. Out: where each file is (the last version, if it was written twice), and what was left out.
"""

import posixpath
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from platform.data.cache import Bytes
from platform.data.links import Links, Unreadable, plain
from platform.data.toolmade import is_tool_made

BLOCK = 512
FOLDER, EXTENDED = b"5", b"x"
PIECE = 2**20  # bytes read at a time to find another tar behind the end
NAMED = 3  # names listed of each kind of what is left out

DANGLING = "links that lead to no member of the same tar"
CIRCULAR = "links back to a folder on the way to them, not followed there"
REWRITTEN = "members written before another one of the same name, which counts"
SPECIAL = "devices and pipes"
TOOL_MADE = "hidden and tool-made files"
METADATA = "members called __NAME__"
WITHOUT_KEY = "members without an extension"

_METADATA = re.compile(r"(?:^|/)__[^/]*?__(?:\.[^/]*)?(?:/|$)")  # as stock webdataset passes over, and `__info__.json`

Place = tuple[int, int]  # offset and size in bytes


def what_is_wrong(error: Exception, copy: str) -> str:
    """The end of the message `shard NAME ...` for an error of `samples_of` or `members_of`.

    Args:
        error: what they raised.
        copy: the remedy if the tar is torn.
    """
    return f"is not read: {error}" if isinstance(error, Unreadable) else f"is torn or no tar ({error}); {copy}"


@dataclass
class LeftOut:
    """Members that belong to no sample: number and first few names of each kind."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, name: str) -> None:
        """Count one member."""
        self.counts[kind] += 1
        if len(self.names[kind]) < NAMED:
            self.names[kind].append(name)

    def add_all(self, other: "LeftOut", where: str) -> None:
        """Count those of another tar, whose name is `where`."""
        for kind, count in other.counts.items():
            self.counts[kind] += count
            room = NAMED - len(self.names[kind])
            self.names[kind] += [f"{name} of {where}" for name in other.names[kind][:room]]

    def lines(self) -> list[str]:
        """Text, one line for each kind."""
        return [
            f"{count} {kind}: {', '.join(self.names[kind])}{' ...' if count > len(self.names[kind]) else ''}"
            for kind, count in sorted(self.counts.items())
        ]


def samples_of(content: Bytes, left_out: LeftOut | None = None) -> dict[str, dict[str, Place]]:
    """Group a tar's members into samples: key -> {extension: (offset, size)}, in the order of the file.

    As in stock webdataset, the key ends at the first dot of a name: `a.input.jpg` is the `input.jpg` of `a`.

    Args:
        content: the tar's bytes.
        left_out: collects the members that belong to no sample.

    Raises:
        Unreadable: two members would be one.
        ValueError, tarfile.TarError: torn, or no tar.
    """
    left_out = LeftOut() if left_out is None else left_out
    samples: dict[str, dict[str, Place]] = {}
    for name, place in members_of(content, left_out).items():
        if kind := _passed_over(name):
            left_out.add(kind, name)
            continue
        folder, slash, base = name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not dot:
            left_out.add(WITHOUT_KEY, name)
            continue
        parts = samples.setdefault(folder + slash + stem, {})
        if extension.lower() in parts:
            raise Unreadable(f"it has two members {name}, of which one would be lost; rename one")
        parts[extension.lower()] = place
    return samples


def _passed_over(name: str) -> str | None:
    """Why a member belongs to no sample; None: it does."""
    if is_tool_made(name):
        return TOOL_MADE
    return METADATA if "__" in name and _METADATA.search(name) else None


def members_of(content: Bytes, left_out: LeftOut) -> dict[str, Place]:
    """Locate the files of a tar, and of tars appended to it (`cat a.tar b.tar`, as `tar -i` reads it), by name.

    Names are without `./`: of members written as `./a` and as `a` the last one counts.

    Raises:
        Unreadable: the same name in two archives, a sparse member.
        ValueError, tarfile.TarError: torn, no tar, something else behind its end.
    """
    found: dict[str, Place] = {}
    start: int | None = 0
    while start is not None:
        files, end = _archive(content, start, left_out)
        twice = next((name for name in files if name in found), None)
        if twice is not None:
            raise Unreadable(
                f"it is several tars one behind the other, of which two hold a {twice}; make a shard of each, or give "
                "their samples keys of their own"
            )
        found = found | files if found else files
        start = _next_archive(content, end)
    return found


def _next_archive(content: Bytes, position: int) -> int | None:
    """Where another archive begins behind the zeros at the end of one; None: there is none."""
    while position < len(content):
        piece = content[position : position + PIECE]
        zeros = len(piece) - len(piece.lstrip(b"\0"))
        if zeros < len(piece):
            return (position + zeros) // BLOCK * BLOCK
        position += zeros
    return None


def _archive(content: Bytes, start: int, left_out: LeftOut) -> tuple[dict[str, Place], int]:
    """Locate the files of the archive that begins at `start`; also where it ends.

    Reads what writers of shards write: plain headers, and extended ones with times only (stock webdataset's), in 2 us a
    member where `tarfile` takes 30: 5% of the time to decode a sample. Anything else (long names, links) is left to
    `tarfile`.
    """
    files: dict[str, Place] = {}
    rewritten: list[str] = []
    position, end = start, len(content)
    while position + BLOCK <= end:
        header = content[position : position + BLOCK]
        kind = header[156:157]
        if not kind.strip(b"\0") and not header.strip(b"\0"):
            for name in rewritten:
                left_out.add(REWRITTEN, name)
            return files, position
        if header[257:262] != b"ustar" or kind not in (b"0", b"\0", FOLDER, EXTENDED):
            return _any_archive(content, start, left_out)
        if not _is_whole(header):
            return _any_archive(content, start, left_out)  # `tarfile` knows other checksums too
        size = _octal(header[124:136])
        if size is None:  # not in octal digits
            return _any_archive(content, start, left_out)
        position += BLOCK
        if position + size > end:
            raise ValueError("its last member is cut short")
        if kind == EXTENDED:
            record = content[position : position + size]
            if any(key in record for key in (b" path=", b" size=", b" linkpath=", b" GNU.")):
                return _any_archive(content, start, left_out)
        elif kind != FOLDER:
            raw = header[:100].partition(b"\0")[0]
            if header[345]:
                raw = header[345:500].partition(b"\0")[0] + b"/" + raw
            name = plain(raw.decode("utf-8", "surrogateescape"))
            if name in files:
                rewritten.append(name)
            files[name] = (position, size)
        position += -(-size // BLOCK) * BLOCK
    if start and position == start:
        raise ValueError(f"what follows its end, at byte {start}, is no tar")
    raise ValueError("the end of the archive is missing")


def _is_whole(header: bytes) -> bool:
    """Whether a header has its checksum: the sum of its bytes, with the checksum's own eight taken as blanks.

    Adler-32's lower half is 1 plus that sum, modulo 65,521; Python's `sum` would double the time of a member.
    """
    said = _octal(header[148:156])
    found = (zlib.adler32(header[156:], zlib.adler32(header[:148])) & 0xFFFF) + 8 * 32 - 1
    return said is not None and (said - found) % 65521 == 0


def _octal(field: bytes) -> int | None:
    digits = field.strip(b"\0 ")
    return None if not digits or digits.strip(b"01234567") else int(digits, 8)


class _File:
    """A memory map or bytes, from `start` on, as a file for `tarfile`."""

    def __init__(self, content: Bytes, start: int) -> None:
        self._content, self._start, self._position = content, start, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, size: int) -> bytes:
        begin = self._start + self._position
        data = self._content[begin : begin + size]
        self._position += len(data)
        return data


def _any_archive(content: Bytes, start: int, left_out: LeftOut) -> tuple[dict[str, Place], int]:
    """Locate the files of whatever archive `tarfile` reads; also where it ends."""
    files: dict[str, Place] = {}
    links: dict[str, str] = {}  # name -> path of what it leads to
    folders: dict[str, None] = {}
    order: dict[str, None] = {}  # of all names
    try:
        tar = tarfile.open(fileobj=_File(content, start), mode="r:")  # noqa: SIM115  # pyright: ignore[reportArgumentType,reportCallIssue]
    except tarfile.TarError as error:
        raise ValueError(f"what follows its end, at byte {start}, is no tar") if start else error from None
    for member in tar:
        name = plain(member.name)
        if member.size < 0:  # it would lead back to earlier members, without end
            raise ValueError(f"the member at byte {start + member.offset} has a damaged header")
        if member.isdir():
            folders[name] = None
            if links.pop(name, None):  # as in extracting
                left_out.add(REWRITTEN, name)
            continue
        if member.issparse():
            raise Unreadable(f"its member {name} is sparse; write it with plain tar")
        if not (member.isfile() or member.islnk() or member.issym()):
            left_out.add(SPECIAL, name)
            continue
        order.setdefault(name)
        if name in files or name in links:
            left_out.add(REWRITTEN, name)
            links.pop(name, None)
        target = plain(member.linkname)
        if member.isfile():
            files[name] = (start + member.offset_data, member.size)
        elif member.islnk() and target in files and target != name:
            files[name] = files[target]  # a hard link keeps its content if the name is written again
        else:
            files.pop(name, None)
            links[name] = target if member.islnk() else posixpath.join(posixpath.dirname(name), member.linkname)
    end = start + tar.offset
    block = content[end : end + BLOCK]
    if len(block) < BLOCK:
        raise ValueError("the end of the archive is missing")
    if block.strip(b"\0"):
        raise ValueError(f"the member at byte {end} has a damaged header")
    if not links:
        return {name: files[name] for name in order if name in files}, end
    return _with_links(order, files, Links(files, links, folders), left_out), end


def _with_links(order: Iterable[str], files: dict[str, Place], links: Links, left_out: LeftOut) -> dict[str, Place]:
    """The files, and under their own names those that links lead to. A file counts before a link of the same name."""
    found: dict[str, Place] = {}
    for name in order:
        if name in files:
            found[name] = files[name]
        elif name in links.targets:
            led_to = links.leads_to(name)
            if led_to is None:
                left_out.add(DANGLING, f"{name} -> {links.targets[name]}")
            else:
                found |= {linked: files[path] for linked, path in led_to if linked not in files}
    for name in links.circular:
        left_out.add(CIRCULAR, f"{name} -> {links.targets[name]}")
    return found
