"""A forked process is what its interpreter would have started, and that is what starts where there is no server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.fork_server.handmade import PACKAGE, Place, copied, until

HOW = "import os\nprint(os.environ['PLATFORM_FORK_SERVER'])\n"
ENDS = [
    ("pass", 0),
    ("import sys; sys.exit(7)", 7),
    ("import sys; sys.exit(None)", 0),
    ("import sys; sys.exit(True)", 1),
    ("import sys; sys.exit('why')", 1),
    ("raise ValueError('why')", 1),
    ("import os; os._exit(9)", 9),
    ("raise KeyboardInterrupt", -2),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
    ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11),
    ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", -6),
    ("import threading, os; threading.Thread(target=lambda: print('thread')).start()", 0),
    ("import atexit; atexit.register(print, 'at exit')", 0),
    ("import sys; sys.stdout.write('no newline'); sys.stderr.write('error')", 0),
    ("syntax error", 1),
]
WHAT = """
import os, signal, sys, __main__
print([sys.argv, sys.path[0], __name__, __file__, __main__.__dict__ is globals(), os.getcwd(), os.umask(0o22)])
print(sorted((k, v) for k, v in os.environ.items() if k != "PLATFORM_FORK_SERVER"))
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), open("/proc/self/oom_score_adj").read())
print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)])
print(sys.stdin.read())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("text", "status"), ENDS)
def test_it_ends_as_the_interpreter_would(forks: Place, text: str, status: int):
    script = forks.script(f"{HOW if 'syntax' not in text else ''}{text}\n")
    plain = subprocess.run(
        [sys.executable, script], env=os.environ | {"PLATFORM_FORK_SERVER": "forked"}, capture_output=True, text=True
    )
    assert plain.returncode == status
    process = forks.start(script)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert output.decode() == plain.stdout
    assert errors.decode().splitlines()[-1:] == plain.stderr.splitlines()[-1:]  # a traceback has other first lines


@pytest.mark.slow
def test_it_is_given_what_the_interpreter_would_be(forks: Path | Place, tmp_path: Path):
    assert isinstance(forks, Place)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    forks.variables = {"BIG": "x" * 100_000, "ODD": "a=b\n\udcff", "EMPTY": ""}
    script = forks.script(WHAT)
    arguments = ["", "a b", "ü\udcff", "--preload=x", "--"]

    def prepare() -> None:
        os.umask(0o77)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR1])
        Path("/proc/self/oom_score_adj").write_text("500")

    answers = []
    for command in ([sys.executable, str(script), *arguments], None):
        (tmp_path / "input").write_text("what is read")
        with (tmp_path / "input").open() as given:
            options = {"cwd": elsewhere, "stdin": given, "preexec_fn": prepare}
            if command:
                done = subprocess.run(
                    command, env=os.environ | forks.variables, capture_output=True, check=True, **options
                )
                answers.append((done.returncode, done.stdout.decode("utf-8", "surrogateescape")))
            else:
                process = forks.start(script, *arguments, **options)
                output, errors = process.communicate(timeout=30)
                assert not errors
                answers.append((process.returncode, output.decode("utf-8", "surrogateescape")))
    assert answers[0] == answers[1]


def test_closed_streams_are_no_other_files(forks: Place, tmp_path: Path):
    script = forks.script(f"open({str(tmp_path / 'out')!r}, 'w').write(str([os.fstat(n).st_rdev for n in (0, 1, 2)]))")
    script.write_text("import os\n" + script.read_text())
    process = forks.start(script, preexec_fn=lambda: os.closerange(0, 3), stdin=None, stdout=None, stderr=None)
    assert process.wait(30) == 0
    null = Path(os.devnull).stat().st_rdev
    assert (tmp_path / "out").read_text() == str([null] * 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_handed_on(forks: Place, number: int):
    script = forks.script(
        f"import signal, sys, time\nsignal.signal({int(number)}, lambda *_: sys.exit(3))\nprint('ready', flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )
    process = forks.start(script)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(30) == 3


def test_a_client_that_is_killed_takes_its_process_with_it(forks: Place):
    script = forks.script("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    process = forks.start(script)
    assert process.stdout
    pid = int(process.stdout.readline())
    process.kill()
    process.wait(10)
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_it_imports_little(forks: Place):
    """Each module is time that every process waits: 30 ms is what it has."""
    listed = "import sys; sys.path[0] = sys.argv.pop(1); import client; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", listed, PACKAGE], capture_output=True, text=True, check=True
    )
    heavy = {
        "json",
        "re",
        "subprocess",
        "pathlib",
        "typing",
        "logging",
        "tempfile",
        "hashlib",
        "shlex",
        "platform",
        "struct",
    }
    assert not heavy & set(done.stdout.split())
    assert len(done.stdout.split()) < 60


def test_a_checkout_may_be_anywhere_and_its_user_have_no_home(forks: Place, tmp_path: Path):
    forks.client = copied(tmp_path / "my project's folder")
    forks.variables = {"HOME": "", "PYTHONPATH": ""}
    for path in forks.client.parent.rglob("*"):
        path.chmod(0o555)
    assert forks.run(forks.script(HOW)) == (0, "forked\n")


def _own_folder(forks: Place) -> None:
    forks.sockets.mkdir(mode=0o755)


def _link(forks: Place) -> None:
    (forks.folder / "other").mkdir(mode=0o700)
    forks.sockets.symlink_to(forks.folder / "other")


def _file(forks: Place) -> None:
    forks.sockets.write_text("")


def _locked(forks: Place) -> None:
    forks.sockets.mkdir(mode=0o700)
    forks.constants = {"LOCK_S": 0.2}
    import fcntl

    fcntl.flock(os.open(forks.sockets, os.O_RDONLY), fcntl.LOCK_EX)  # until this process ends


def _too_long(forks: Place) -> None:
    forks.folder = forks.folder / ("x" * 120)
    forks.folder.mkdir()


def _subreaper(forks: Place) -> None:
    forks.variables = {"RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true"}


def _crash(forks: Place) -> None:
    forks.preload = "crash"
    forks.script("import os\nos._exit(1)\n", "crash.py")
    forks.variables = {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{forks.folder}"}


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_own_folder, "is not a folder of this user alone"),
        (_link, "is not a folder of this user alone"),
        (_file, "is not a folder of this user alone"),
        (_locked, "has been locked for 0.2 s"),
        (_too_long, "is too long for a socket"),
        (_subreaper, "has the raylet end what is not its child"),
        (_crash, "3 servers ended without an answer"),
    ],
)
def test_where_no_server_can_be_it_starts_as_ever_and_says_why(forks: Place, prepare, reason: str):
    prepare(forks)
    for _ in range(2):
        status, output = forks.run(forks.script(f"{HOW}import sys\nsys.exit(5)\n"))
        assert status == 5
        assert reason in output


@pytest.mark.slow
def test_after_servers_that_crash_nobody_tries_again(forks: Place):
    _crash(forks)
    forks.run(forks.script(HOW))
    assert [path.name for path in forks.sockets.iterdir() if path.suffix == ".failed"]
    (forks.folder / "crash.py").write_text(f"open({str(forks.folder / 'tried')!r}, 'w')\n")
    assert "3 servers ended" in forks.run(forks.script(HOW))[1]
    assert not (forks.folder / "tried").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_socket_is_not_told_anything(forks: Place):
    assert forks.run(forks.script(HOW)) == (0, "forked\n")
    server = forks.server()
    (socket,) = (path for path in forks.sockets.iterdir() if path.is_socket())
    server.kill()
    server.wait(10)
    socket.unlink()
    listen = (
        f"import os, socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.bind({str(socket)!r})\n"
        "os.setuid(65534)\ns.listen()\nprint('ready', flush=True)\nc, _ = s.accept()\nprint(c.recv(100))\n"
    )
    with subprocess.Popen([sys.executable, "-c", listen], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        assert "is another user's socket" in forks.run(forks.script(HOW))[1]
        assert other.stdout.readline() == "b''\n"


@pytest.mark.parametrize("safe", ["", "1"])
def test_modules_are_found_where_the_interpreter_would_find_them(forks: Place, tmp_path: Path, safe: str):
    """Entries of PYTHONPATH may be relative, or empty, to where the process starts: it is not where the server is."""
    for folder in ("here", "here/src", "there"):
        (tmp_path / folder).mkdir()
    own = {"PYTHONPATH": f"{tmp_path / 'there'}:src::{os.environ['PYTHONPATH']}", "PYTHONSAFEPATH": safe}
    forks.variables = own
    script = forks.script("import sys\nprint(sys.path)\n")
    plain = subprocess.run(
        [sys.executable, script],
        env=os.environ | own,
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        check=True,
    )
    status, output = forks.run(script, cwd=tmp_path / "here")
    assert (status, output) == (0, plain.stdout)


def test_a_crash_is_told_with_the_last_that_was_said(forks: Place):
    _crash(forks)
    (forks.folder / "crash.py").write_text("import os\nprint('no such library', flush=True)\nos._exit(1)\n")
    assert "3 servers ended without an answer (no such library); see " in forks.run(forks.script(HOW))[1]
