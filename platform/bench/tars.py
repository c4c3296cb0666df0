"""Files put into a tar file from memory."""

import io
import tarfile


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file with this content; dated 1970, so that equal contents make equal tar files."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
