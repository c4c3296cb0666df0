"""Accounts of MLflow's server, from a shell in its pod: the admin's name and password are there already.

    kubectl -n platform exec -it deploy/mlflow -- python /scripts/accounts.py add NAME       asks for a password
    ... accounts.py list | password NAME | admin NAME | remove NAME

Passwords come from the terminal, or as the first line of standard input (kubectl exec -i ... < FILE), never from the
command line. In: MLFLOW_AUTH_ADMIN_USERNAME, MLFLOW_AUTH_ADMIN_PASSWORD; MLFLOW_TRACKING_URI where the server is
elsewhere. Out: exit status 0; 1 where the server refused, 2 where the command is none.
"""

import base64
import getpass
import json
import os
import sys
import urllib.error
import urllib.request

LEAST = 12  # characters, as the server wants them
USERS = "/api/2.0/mlflow/users"


def main(words: list[str]) -> int:
    match words:
        case ["list"]:
            for user in ask("GET", "list")["users"]:
                print(user["username"] + (" (admin)" if user["is_admin"] else ""))
        case ["add", name]:
            ask("POST", "create", username=name, password=password())
            print(f"{name} is added: reads every experiment, writes to those it makes")
        case ["password", name]:
            ask("PATCH", "update-password", username=name, password=password())
            print(f"{name} has another password; the old one is refused within a minute")
        case ["admin", name]:
            ask("PATCH", "update-admin", username=name, is_admin=True)
            print(f"{name} is an admin: may do everything")
        case ["remove", name]:
            ask("DELETE", "delete", username=name)
            print(f"{name} is removed; its runs stay, its password is refused within a minute")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def password() -> str:
    if sys.stdin.isatty():
        given = getpass.getpass("password: ")
        if getpass.getpass("again: ") != given:
            raise SystemExit("these are two different passwords; nothing was changed")
    else:
        given = sys.stdin.readline().rstrip("\n")
    if len(given) < LEAST:
        raise SystemExit(f"the password has {len(given)} characters; give {LEAST} or more")
    return given


def ask(method: str, what: str, **given: object) -> dict:
    server = os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    login = f"{os.environ['MLFLOW_AUTH_ADMIN_USERNAME']}:{os.environ['MLFLOW_AUTH_ADMIN_PASSWORD']}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        "Content-Type": "application/json",
    }
    body = json.dumps(given).encode() if given else None
    request = urllib.request.Request(f"{server}{USERS}/{what}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise SystemExit(reason(error)) from None
    except OSError as error:
        raise SystemExit(f"{server} does not answer: {error}") from None


def reason(error: urllib.error.HTTPError) -> str:
    if error.code == 401:
        return (
            "the server refused the admin's password of the Secret mlflow-auth: it was changed since. "
            "Set the Secret to the one that holds now, and restart: kubectl -n platform rollout restart deploy/mlflow"
        )
    text = error.read().decode(errors="replace")
    try:
        message = str(json.loads(text)["message"])
        return message.partition(" Error: ")[0].splitlines()[0]  # then the database's own, with what was written
    except (ValueError, KeyError, TypeError, IndexError):
        return f"HTTP {error.code}: {' '.join(text.split())[:200]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
