"""A PostgreSQL of Debian's packages, on a port and in a folder of its own."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def binaries() -> Path:
    """Where PostgreSQL's commands are; skips where there are none, or where root has nobody to run them as."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not folders:
        pytest.skip("no PostgreSQL on this machine (Debian: postgresql)")
    if os.getuid() == 0 and not (shutil.which("setpriv") and account()):
        pytest.skip("PostgreSQL does not run as root, and there is no account postgres")
    return folders[0]


def account() -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return None


@contextlib.contextmanager
def postgres(user: str, password: str) -> Iterator[dict[str, str]]:
    """Runs a server whose superuser this is; yields libpq's PG* variables."""
    commands, folder = binaries(), Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a socket's path
    owner = account() if os.getuid() == 0 else None
    become = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"] if owner else []
    secret = folder / "password"
    secret.write_text(password)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if owner:
        for path in (folder, secret):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    try:
        initdb = [
            "initdb",
            "-D",
            folder / "data",
            "-U",
            user,
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--no-sync",
        ]
        run([*become, commands / initdb[0], *initdb[1:]])
        control = [*become, commands / "pg_ctl", "-D", folder / "data", "-w"]
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        run([*control, "-l", folder / "log", "-o", options, "start"])
        try:
            yield {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password}
        finally:
            run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder)


def run(command: list[str | Path]) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
