"""What a local raylet runs first for each process. Ray's own script does the same after importing Ray: 0.35 s of CPU.

    python setup_worker.py SCRIPT [ARGUMENT...] --serialized-runtime-env-context=JSON --language=PYTHON

In: the runtime environment as its agent has made it. Out: this process becomes the client that `command` names, or
Ray's own script where the environment is another.
"""

import json
import os
import sys

CONTEXT, LANGUAGE = "--serialized-runtime-env-context=", "--language="  # seen in Ray 2.60
OTHERS = {"command_prefix", "override_worker_entrypoint", "java_jars"}
USED = OTHERS | {"env_vars", "py_executable"}


def main() -> None:
    """Become the client of the fork server, or Ray's own script."""
    arguments = sys.argv[1:]
    command = client_command(arguments)
    if command is None:
        script = next(each for each in arguments if each.endswith("default_worker.py"))
        own = os.path.join(os.path.dirname(script), "setup_worker.py")
        os.execv(sys.executable, [sys.executable, own, *arguments])
    os.execv(command[0], command)


def client_command(arguments: "list[str]") -> "list[str] | None":
    """The client's command, with the environment's variables set; None if anything is not as expected."""
    context = next((each[len(CONTEXT) :] for each in arguments if each.startswith(CONTEXT)), "{}")
    made = json.loads(context)
    if made.keys() - USED or any(made.get(key) for key in OTHERS):
        return None
    if f"{LANGUAGE}PYTHON" not in arguments:
        return None
    import shlex

    command = shlex.split(made.get("py_executable") or "")
    if command[:2] != ["bash", "-c"] or command[3:4] != ["fork_server"] or not os.access(command[5], os.R_OK):
        return None
    variables = made.get("env_vars", {})
    if any("$" in value for value in variables.values()):  # Ray puts others' values in
        return None
    os.environ.update(variables)
    _, _, _, _, python, client, *options = command
    rest = [each for each in arguments if not each.startswith((CONTEXT, LANGUAGE))]
    return [python, "-I", "-S", client, *options, *rest]


if __name__ == "__main__":
    main()
