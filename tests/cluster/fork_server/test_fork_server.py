"""A fork server's life: whom it serves, what ends it, and what its end costs."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from platform.cluster.fork_server.client import SERVERS
from platform.cluster.fork_server.command import start_warm
from tests.cluster.fork_server.handmade import Place, copied, ended, until

HOW = "import os\nprint(os.environ['PLATFORM_FORK_SERVER'], os.getppid())\n"
SLEEP = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
INSIDE = """
import os
print(os.getpgrp() == os.getpid())
for name in os.listdir("/proc/self/fd"):
    try:
        print(os.readlink("/proc/self/fd/" + name))
    except FileNotFoundError:
        pass
"""


def sockets(forks: Place) -> list[str]:
    return [path.name for path in forks.sockets.iterdir() if path.is_socket()]


def sleeper(seconds: float = 60) -> "subprocess.Popen[bytes]":
    """What stands for a raylet."""
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])


@pytest.mark.slow
def test_one_server_forks_all_and_a_child_has_nothing_of_it(forks: Place):
    script = forks.script(HOW)
    assert len({forks.run(script) for _ in range(5)}) == 1
    waiting = forks.start(forks.script(SLEEP, "sleep.py"))
    assert waiting.stdout
    waiting.stdout.readline()
    _, output = forks.run(forks.script(INSIDE, "inside.py"))
    first, *files = output.splitlines()
    assert first == "True"
    assert not [file for file in files if file.startswith("socket") or "log" in file or "pidfd" in file]
    assert len(files) <= 5  # the streams, the script's, and that of listing them
    waiting.kill()
    waiting.wait()


@pytest.mark.slow
def test_another_environment_has_a_server_of_its_own_and_they_are_few(forks: Place):
    script = forks.script(HOW)
    seen = set()
    for number in range(SERVERS):
        forks.variables = {"NUMBER": str(number), "PLATFORM_FORK_SERVER": "x", "SHLVL": str(number)}
        status, output = forks.run(script)
        assert (status, output.split()[0]) == (0, "forked")
        seen.add(output)
    assert len(seen) == SERVERS == len(sockets(forks))
    forks.variables = {"NUMBER": "one too many"}
    assert f"{SERVERS} servers for other environments are here already" in forks.run(script)[1]
    forks.variables = {"NUMBER": "0"}
    assert forks.run(script)[1] in seen


@pytest.mark.slow
def test_it_ends_with_its_raylet_and_so_do_processes_that_stay(forks: Place, monkeypatch: pytest.MonkeyPatch):
    raylet = sleeper()
    forks.variables = {"RAY_RAYLET_PID": str(raylet.pid)}
    stays = forks.start(forks.script(f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEP}"))
    assert stays.stdout
    stays.stdout.readline()
    server = forks.server()
    raylet.kill()
    raylet.wait()
    until(lambda: not sockets(forks))
    assert stays.wait(30) == -signal.SIGKILL
    server.wait(30)
    assert "the raylet has ended; 1 processes were forked" in forks.log()


@pytest.mark.slow
def test_it_ends_when_there_is_nothing_to_do_and_the_next_starts_another(forks: Place, tmp_path: Path):
    script = forks.script(HOW)
    first = forks.run(script)
    server = forks.server()
    server.kill()
    server.wait(10)
    idle = Path(forks.client).with_name("server.py").read_text().replace("IDLE_S = 60.0", "IDLE_S = 0.2")
    changed = tmp_path / "checkout" / "platform" / "cluster" / "fork_server" / "client.py"
    assert copied(tmp_path / "checkout") == changed
    changed.with_name("server.py").write_text(idle)
    forks.client = changed
    answers = [forks.run(script)]
    for _ in range(20):  # some come in the very moment
        time.sleep(random.uniform(0, 0.4))
        answers.append(forks.run(script))
    assert {(status, output.split()[0]) for status, output in answers} == {(0, "forked")}
    assert first not in answers
    until(lambda: not forks.servers())
    assert not sockets(forks)


@pytest.mark.slow
def test_servers_killed_in_any_moment_cost_nothing_but_a_new_one(forks: Place, tmp_path: Path):
    """Every script runs once, and its client ends with its status."""
    count = tmp_path / "count"
    count.mkdir()
    script = forks.script(
        f"import sys\nopen({str(count)!r} + '/' + sys.argv[1], 'x').close()\nsys.exit(2 + int(sys.argv[1]) % 7)\n"
    )
    under_way = {}
    for number in range(60):
        under_way[number] = forks.start(script, str(number))
        if number % 3 == 0:
            time.sleep(random.uniform(0, 0.15))
            for server in forks.servers():
                server.send_signal(signal.SIGKILL)
    lost = 0
    for number, process in under_way.items():
        _, errors = process.communicate(timeout=60)
        assert b"FileExistsError" not in errors
        lost += process.returncode != 2 + number % 7  # its server was killed, or itself as one
        assert process.returncode in (2 + number % 7, 1, -signal.SIGKILL)
    assert len(list(count.iterdir())) >= 60 - lost


@pytest.mark.slow
def test_children_outlive_their_server(forks: Place):
    script = forks.script("import sys\nprint('ready', flush=True)\nsys.stdin.readline()\nprint('done')\n")
    waiting = forks.start(script, stdin=subprocess.PIPE)
    assert waiting.stdout
    assert waiting.stdin
    assert waiting.stdout.readline() == b"ready\n"
    server = forks.server()
    server.kill()
    server.wait(10)
    assert waiting.poll() is None
    waiting.stdin.write(b"\n")
    waiting.stdin.close()
    assert waiting.stdout.read() == b"done\n"
    assert waiting.wait(10) == 1  # how it ended, its server alone would have known
    assert forks.run(forks.script(HOW))[1].startswith("forked")


@pytest.mark.slow
def test_a_server_that_hangs_is_given_up_and_what_it_was_asked_never_runs(forks: Place, tmp_path: Path):
    script = forks.script(f"{HOW}import sys\nopen({str(tmp_path)!r} + '/' + sys.argv[1] + str(os.getpid()), 'x')\n")
    forks.run(script, "warm-up")
    server = forks.server()
    server.suspend()
    forks.constants = {"ANSWER_S": 0.5}
    assert "has not answered in 0.5 s" in forks.run(script, "asked")[1]
    server.wait(10)
    forks.constants = {}
    assert forks.run(script, "after")[1].startswith("forked")
    assert len(list(tmp_path.glob("asked*"))) == 1


def _hang(forks: Place, how: str) -> Path:
    """An import that hangs until a file is there."""
    forks.preload = "hang"
    done = forks.folder / "done"
    forks.script(
        f"import os, signal, time\n{how}\nwhile not os.path.exists({str(done)!r}):\n    time.sleep(0.01)\n", "hang.py"
    )
    forks.variables |= {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{forks.folder}"}
    return done


@pytest.mark.slow
def test_a_server_that_hangs_outside_of_python_is_ended_and_tried_twice(forks: Place):
    _hang(forks, "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); time.sleep(1000)")
    forks.constants = {"ANSWER_S": 1.0}
    for _ in range(2):
        assert (
            f'has not answered in 1 s and was ended, in "{forks.folder}/hang.py", line 2'
            in (forks.run(forks.script(HOW))[1])
        )
        assert not forks.servers()
    forks.constants = {"ANSWER_S": 1000.0}
    assert "has not answered in 1 s and was ended" in forks.run(forks.script(HOW))[1]


@pytest.mark.slow
def test_a_server_that_is_silent_because_it_works_is_waited_for(forks: Place):
    """As one that loads a large library: no line of Python runs in which it could say so."""
    _hang(forks, "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); sum(range(10**8))").touch()
    forks.constants = {"ANSWER_S": 0.2}
    assert forks.run(forks.script(HOW))[1].startswith("forked")


@pytest.mark.slow
def test_nobody_waits_long_for_imports_but_they_are_used_when_they_are_done(forks: Place, tmp_path: Path):
    done = _hang(forks, "")
    output = tmp_path / "output"  # a pipe's end would be kept by what waits in the server's queue
    for ready_s in (1.0, 1000.0):
        forks.constants = {"READY_S": ready_s}
        with output.open("w") as file:
            assert forks.start(forks.script(HOW), stdout=file, stderr=file).wait(30) == 0
        assert "has imported for 1 s and is not done" in output.read_text()
    server = forks.server().pid
    done.touch()
    until(lambda: not list(forks.sockets.glob("*.failed")))
    assert forks.run(forks.script(HOW))[1].split() == ["forked", str(server)]


def test_a_server_ends_with_its_raylet_while_it_imports(forks: Place):
    with subprocess.Popen(["sleep", "1000"]) as raylet:
        forks.variables = {"RAY_RAYLET_PID": str(raylet.pid)}
        _hang(forks, "")
        waiting = forks.start(forks.script(HOW))
        until(forks.servers)
        raylet.kill()
    waiting.communicate(timeout=30)  # it tries others, which end as well
    until(lambda: not forks.servers())
    assert not sockets(forks)


def test_how_a_process_ended_is_not_waited_for_long(forks: Place):
    forks.constants = {"STATUS_S": 0.2}
    script = forks.script("import sys\nprint('ready', flush=True)\nsys.stdin.readline()\n")
    waiting = forks.start(script, stdin=subprocess.PIPE)
    assert waiting.stdout
    assert waiting.stdin
    assert waiting.stdout.readline() == b"ready\n"
    forks.server().suspend()
    waiting.stdin.close()
    assert waiting.wait(10) == 1


def test_garbage_and_silence_at_the_socket_stop_nobody(forks: Place):
    script = forks.script(HOW)
    forks.run(script)
    (name,) = sockets(forks)
    silent = []
    for message in (None, b"", b"x" * 5000, b"fork"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(forks.sockets / name))
        if message is not None:
            connection.send(message)
        silent.append(connection)
    junk = os.memfd_create("junk")
    os.write(junk, b"not a request")
    socket.send_fds(silent[0], [b"path"], [junk, junk, junk, junk])
    assert forks.run(script)[1].startswith("forked")
    for connection in silent:
        connection.close()
    os.close(junk)
    assert forks.run(script)[1].startswith("forked")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_turned_away(forks: Place):
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        forks.folder = Path(open_to_all)
        forks.run(forks.script(HOW))
        (name,) = sockets(forks)
        forks.sockets.chmod(0o777)
        (forks.sockets / name).chmod(0o777)
        ask = (
            f"import os, socket\nos.setuid(65534)\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            f"s.connect({str(forks.sockets / name)!r})\nprint(s.recv(10))\n"
        )
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=20)
        assert done.stdout == "b''\n", done.stderr
        assert "user 65534 was turned away" in forks.log()
        ended(forks)


def test_missing_and_broken_imports_are_named_and_nothing_else(forks: Place):
    forks.script("raise RuntimeError('broken')\n", "broken.py")
    forks.preload = "no_such_module,broken,colorsys"
    forks.variables = {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{forks.folder}"}
    status, output = forks.run(forks.script("import sys\nprint('colorsys' in sys.modules)\n"))
    assert (status, output) == (0, "True\n")
    assert "no_such_module is not imported before the fork (ModuleNotFoundError" in forks.log()
    assert "broken is not imported before the fork (RuntimeError: broken)" in forks.log()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "1 thread"),
        ("import socket\nkept = socket.socket()", "has opened a connection"),
    ],
)
def test_a_process_that_cannot_be_forked_whole_is_not(forks: Place, text: str, reason: str):
    forks.script(text, "unfit.py")
    forks.preload = "unfit"
    forks.variables = {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{forks.folder}"}
    status, output = forks.run(forks.script(HOW))
    assert status == 0
    assert reason in output


@pytest.mark.slow
def test_a_hundred_starts_and_kills_leave_nothing(forks: Place):
    raylet = sleeper()
    forks.variables = {"RAY_RAYLET_PID": str(raylet.pid)}
    script = forks.script(SLEEP)
    pids = []
    for number in range(100):
        process = forks.start(script)
        assert process.stdout
        pid = int(process.stdout.readline())
        pids.append(pid)
        os.kill(pid if number % 2 else process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        process.communicate()
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
    server = forks.server()
    assert server.num_fds() < 20
    raylet.kill()
    raylet.wait()
    server.wait(30)
    assert not sockets(forks)
    assert [path.name for path in forks.sockets.iterdir()] == ["fork_server.log"]


def test_a_warm_server_becomes_that_of_the_first_who_asks(forks: Place):
    raylet = sleeper()
    with start_warm(sys.executable, forks.sockets, preload=[], preload_with_ray=[]) as warm:
        forks.variables = {"RAY_RAYLET_PID": str(raylet.pid), "MLFLOW_X": "set by MLflow"}
        assert forks.run(forks.script(HOW)) == (0, f"forked {warm.pid}\n")
        assert len(sockets(forks)) == 1
        raylet.kill()
        raylet.wait()
        warm.wait(30)
    assert not sockets(forks)


def test_a_warm_server_of_another_environment_makes_room(forks: Place):
    with start_warm(sys.executable, forks.sockets, preload=[], preload_with_ray=[]) as warm:
        forks.variables = {"OMP_NUM_THREADS": "3"}
        status, output = forks.run(forks.script(HOW))
        assert (status, output.split()[0]) == (0, "forked")
        assert output.split()[1] != str(warm.pid)
        warm.wait(30)
    assert "other values of OMP_NUM_THREADS" in (forks.sockets / "fork_server.log").read_text()


@pytest.mark.slow
def test_a_warm_server_ends_with_whoever_started_it(forks: Place):
    start = (
        "import os, sys\nfrom pathlib import Path\nfrom platform.cluster.fork_server.command import start_warm\n"
        f"warm = start_warm(sys.executable, Path({str(forks.sockets)!r}), preload=[], preload_with_ray=[])\n"
        "print(warm.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    until(lambda: not Path(f"/proc/{int(done.stdout)}").exists())
    assert not sockets(forks)


@pytest.mark.slow
def test_a_warm_server_waits_as_long_as_whoever_started_it(forks: Place, monkeypatch: pytest.MonkeyPatch):
    """Its launcher may be packing first."""
    forks.script("import __main__\n__main__.IDLE_S = 0.1\n", "impatient.py")
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}:{forks.folder}")
    with start_warm(sys.executable, forks.sockets, preload=["impatient"], preload_with_ray=[]) as warm:
        until(lambda: "imported 1 modules" in forks.log())
        time.sleep(2)
        assert warm.poll() is None
        warm.kill()


def job(raylet: "subprocess.Popen[bytes]", number: int, **more: str) -> dict[str, str]:
    """Variables of a job's processes."""
    return {"RAY_RAYLET_PID": str(raylet.pid), "RAY_JOB_ID": f"0{number}000000"} | more


def counted(forks: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each process that has imported what servers preload."""
    imports = forks.folder / "imports"
    forks.script(
        f"import os\nwith open({str(imports)!r}, 'a') as file:\n    print(os.getpid(), file=file)\n", "heavy.py"
    )
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}:{forks.folder}")
    forks.preload = "heavy"
    return imports


def test_the_next_job_of_a_node_finds_everything_imported_but_ray(forks: Place, monkeypatch: pytest.MonkeyPatch):
    imports, raylet, script = counted(forks, monkeypatch), sleeper(), forks.script(HOW)
    servers = set()
    for number in range(1, 4):
        forks.variables = job(raylet, number)
        status, output = forks.run(script)
        assert (status, output.split()[0]) == (0, "forked")
        servers.add(output.split()[1])
    assert len(servers) == 3  # a job's environment is its own
    assert len(imports.read_text().splitlines()) == 1
    assert len(forks.servers()) == 4  # and one for a fourth job
    assert len([each for each in sockets(forks) if each.startswith("warm-")]) == 1
    raylet.kill()
    raylet.wait()
    until(lambda: not forks.servers())
    assert not sockets(forks)


def test_a_job_of_another_environment_imports_anew(forks: Place, monkeypatch: pytest.MonkeyPatch):
    imports, raylet, script = counted(forks, monkeypatch), sleeper(), forks.script(HOW)
    for number, threads in enumerate(("1", "2")):
        forks.variables = job(raylet, number, OMP_NUM_THREADS=threads)
        assert forks.run(script)[1].split()[0] == "forked"
    assert len(imports.read_text().splitlines()) == 2
    raylet.kill()
    raylet.wait()
    until(lambda: not forks.servers())


def test_a_job_of_changed_code_imports_it_anew(forks: Place, monkeypatch: pytest.MonkeyPatch):
    imports, raylet, script = counted(forks, monkeypatch), sleeper(), forks.script(HOW)
    for number in range(2):
        forks.variables = job(raylet, number)
        assert forks.run(script)[1].split()[0] == "forked"
        heavy = forks.folder / "heavy.py"
        heavy.write_text(heavy.read_text() + "# another line\n")
    assert len(imports.read_text().splitlines()) == 2
    assert "heavy.py has changed since it was imported" in forks.log()
    raylet.kill()
    raylet.wait()
    until(lambda: not forks.servers())


def test_what_waits_for_a_job_does_not_wait_for_ever(forks: Place, monkeypatch: pytest.MonkeyPatch):
    counted(forks, monkeypatch)
    (forks.folder / "heavy.py").write_text("import __main__\n__main__.WARM_IDLE_S = 0.1\n")
    raylet = sleeper()
    forks.variables = job(raylet, 1)
    assert forks.run(forks.script(HOW))[1].split()[0] == "forked"
    until(lambda: len(forks.servers()) == 1)
    assert not [each for each in sockets(forks) if each.startswith("warm-")]
    raylet.kill()
    raylet.wait()
    until(lambda: not forks.servers())
