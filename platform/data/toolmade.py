"""Files that file managers, notebooks, editors and archivers leave beside images, in folders, tars and shards."""

import re

# `.` and `..` are no names; a name that begins with a dot is hidden.
_TOOL_MADE = re.compile(
    r"(?:^|/)(?:\.(?!\.?(?:/|$))|(?:__MACOSX|@eaDir|lost\+found|\$RECYCLE\.BIN|System Volume Information)(?:/|$)"
    r"|(?:Thumbs\.db|ehthumbs\.db|desktop\.ini)$)|~$",
    re.IGNORECASE,
)


def is_tool_made(name: str) -> bool:
    """Whether a path is of a hidden file, an editor's copy or a tool's own file, by its name alone:

    `.ipynb_checkpoints/x-checkpoint.jpg`, `._x.jpg`, `.DS_Store`, `Thumbs.db`, `__MACOSX/x`, `@eaDir/x`, `.git/x`,
    `x.jpg~`, `.x.swp`.
    """
    return _TOOL_MADE.search(name) is not None
