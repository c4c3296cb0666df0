"""Which tar files of a folder or store are shards: none that is hidden or made by tools, and none compressed.

In: a folder or URL. Out: names and sizes, and what was left out.
"""

from platform.config.checks import ConfigError
from platform.data.storage import Storage
from platform.data.tar import NAMED, LeftOut
from platform.data.toolmade import is_tool_made

HIDDEN = "hidden and tool-made tar files, which are taken for no shards"
DECOMPRESS = {"gz": "gunzip", "bz2": "bunzip2", "xz": "unxz", "zst": "unzstd", "lz4": "unlz4"}
COMPRESSED = {
    **{f".tar.{ending}": command for ending, command in DECOMPRESS.items()},
    ".tgz": "gunzip", ".tbz2": "bunzip2", ".tbz": "bunzip2", ".txz": "unxz", ".tzst": "unzstd",
}  # fmt: skip


def tar_files(base: str, store: Storage, left_out: LeftOut) -> list[tuple[str, int]]:
    """The shards as (name below `base`, bytes), sorted by name. Other tar files are noted in `left_out`.

    Raises:
        ConfigError: some are compressed.
        StorageError: there is no such folder, or it cannot be listed.
    """
    endings = (".tar", *COMPRESSED)
    found = []
    for name, size in store.list(base, (*endings, *(ending.upper() for ending in endings))):
        if is_tool_made(name):
            left_out.add(HIDDEN, name)
        else:
            found.append((name, size))
    _refuse_compressed([name for name, _ in found if not name.lower().endswith(".tar")], base)
    return found


def _refuse_compressed(names: list[str], base: str) -> None:
    if not names:
        return
    commands = {
        command: None for name in names for ending, command in COMPRESSED.items() if name.lower().endswith(ending)
    }
    raise ConfigError(
        f"{base} holds {len(names)} compressed shard(s), {', '.join(names[:NAMED])}{' ...' if names[NAMED:] else ''}: "
        f"decompress them first ({', '.join(commands)}), as shards are read at any place; or move them away"
    )
