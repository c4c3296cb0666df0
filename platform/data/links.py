"""Where the links of a tar lead inside it: to a file, to a folder, or nowhere.

In: the paths of its files and folders, and links with their targets. Out: the files that each link stands for.
"""

import posixpath
from collections.abc import Iterable, Iterator

MOST_HOPS = 40  # from link to link, as Linux follows them
MOST_PARTS, LONGEST = 512, 4096  # of a path, the links in it replaced; a target's length, as on Linux
# Into linked folders: such as hold two links each to the next one double without end.
MOST_STEPS, STEPS_PER_MEMBER = 2**22, 100


_Folder = dict[str, "_Folder"]  # of its entries; of a file empty


class Unreadable(ValueError):
    """A tar that is whole and not read as it is; the message says what to do, and copying it again is no help."""


def plain(name: str) -> str:
    """A path without `./`, doubled slashes and a slash at its end; `..` stays."""
    if "./" not in name and "//" not in name and name[-1:] not in "./":
        return name
    start = "/" if name.startswith("/") else ""
    return start + "/".join(part for part in name.split("/") if part not in ("", "."))


class Links:
    """The links of one archive. Paths are plain; targets are seen from the archive's root."""

    def __init__(self, files: Iterable[str], targets: dict[str, str], folders: Iterable[str] = ()) -> None:
        """Of its files, its links with what they lead to, and the folders that are members, of which some are empty."""
        self.targets = targets
        self.circular: dict[str, None] = {}  # links to a folder that they lie in, as far as they were met
        self._files = frozenset(files)
        self._steps_left = min(MOST_STEPS, STEPS_PER_MEMBER * (len(self._files) + len(targets)))
        self._ends = {path: self._followed(target) for path, target in targets.items()}
        self._tree: _Folder = {}
        if any(end is not None and end not in self._files for end in self._ends.values()):
            for path in (*self._files, *targets, *folders):
                folder = self._tree
                for part in path.split("/"):
                    folder = folder.setdefault(part, {})

    def _followed(self, path: str) -> str | None:
        """The path without links in it; None where they go round in a circle, or it is longer than paths are."""
        waiting, done = path.split("/")[::-1], [""] if path.startswith("/") else []
        hops = parts = 0
        while waiting and len(path) <= LONGEST:
            part = waiting.pop()
            parts += 1
            if parts > MOST_PARTS:
                return None
            if part in ("", "."):
                continue
            if part == ".." and done and done[-1] not in ("", ".."):
                done.pop()
                continue
            done.append(part)
            target = self.targets.get("/".join(done))
            if target is not None:
                hops += 1
                if hops > MOST_HOPS:
                    return None
                path, done = target, [""] if target.startswith("/") else []
                waiting += target.split("/")[::-1]
        return None if waiting else "/".join(done)

    def _entries(self, path: str) -> "_Folder | None":
        """What a folder holds."""
        folder: _Folder | None = self._tree
        for part in path.split("/") if path else ():
            folder = None if folder is None else folder.get(part)
        return folder

    def leads_to(self, link: str) -> Iterator[tuple[str, str]] | None:
        """The files that a link stands for, as (name below the link, path of the file).

        Returns:
            None where the link leads to nothing in the archive.

        Raises:
            Unreadable: links to folders multiply the files beyond any data set's number.
        """
        end = self._ends[link]
        found = end is not None and (end in self._files or self._entries(end) is not None)
        return self._below(link) if found else None

    def _below(self, link: str) -> Iterator[tuple[str, str]]:
        """The files of linked folders within a linked folder, too, as a walk that follows links finds them."""
        waiting: list[tuple[str, str, tuple[str, ...]]] = [(link, link, ())]  # name, path, where links were followed
        while waiting:
            name, path, came_from = waiting.pop()
            self._steps_left -= 1
            if self._steps_left < 0:
                raise Unreadable("its links to folders multiply its files a hundredfold or more; write it without them")
            if path in self.targets:
                path, came_from, link = self._ends[path], (*came_from, posixpath.dirname(path)), path
                if path is None:
                    continue
                if path not in self._files and (len(came_from) > MOST_HOPS or any(_in(f, path) for f in came_from)):
                    self.circular[link] = None
                    continue
            if path in self._files:
                yield name, path
            else:
                inside = reversed(self._entries(path) or {})
                waiting += [(f"{name}/{entry}", f"{path}/{entry}", came_from) for entry in inside]


def _in(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")
