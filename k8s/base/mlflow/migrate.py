"""Brings both databases to the schemas of the installed MLflow; every server runs it before it starts.

In: MLFLOW_BACKEND_STORE_URI and MLFLOW_AUTH_DATABASE_URI (and libpq's PG* variables). Out: exit status 0, or 1 where a
database does not answer within WAIT_S seconds (600), was upgraded by a newer MLflow, or cannot be upgraded.

A lock in the database lets one server upgrade and the others wait. No Job does it: a Job's pod cannot change, so that
`kubectl apply` with another image would be refused.
"""

import os
import subprocess
import sys
import time
from importlib.resources import files

import sqlalchemy
import sqlalchemy.exc
from alembic.script import ScriptDirectory

TRACKING, ACCOUNTS = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_AUTH_DATABASE_URI"
SCHEMAS = {  # migrations, the table that names the newest that ran, the command that runs them
    TRACKING: ("mlflow.store.db_migrations", "alembic_version", "mlflow db upgrade"),
    ACCOUNTS: ("mlflow.server.auth.db.migrations", "alembic_version_auth", "mlflow.server.auth db upgrade --url"),
}
LOCK = 0x6D6C666C6F77  # any number that is ours alone: "mlflow" in ASCII


def main() -> int:
    deadline = time.monotonic() + float(os.environ.get("WAIT_S", "600"))
    return 0 if all(upgraded(variable, deadline) for variable in SCHEMAS) else 1


def upgraded(variable: str, deadline: float) -> bool:
    engine = sqlalchemy.create_engine(os.environ[variable], connect_args={"connect_timeout": 5})
    connection = connected(engine, variable, deadline)
    if connection is None:
        return False
    with connection:  # the lock ends with it, however this process does
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({LOCK})"))
        return upgrade(connection, variable)


def connected(engine: sqlalchemy.Engine, variable: str, deadline: float) -> sqlalchemy.Connection | None:
    said = None
    while True:
        try:
            return engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        except sqlalchemy.exc.SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
        if reason != said:
            print(f"{variable}: {reason}; waiting", flush=True)
            said = reason
        if time.monotonic() > deadline:
            print("gave up: is the database there, and does the Secret mlflow-database fit it?", flush=True)
            return None
        time.sleep(2)


def upgrade(connection: sqlalchemy.Connection, variable: str) -> bool:
    package, table, command = SCHEMAS[variable]
    scripts = ScriptDirectory(str(files(package)))
    wanted, found = scripts.get_current_head(), schema(connection, table)
    if found == wanted:
        return True
    if found is not None and found not in {each.revision for each in scripts.walk_revisions()}:
        print(
            f"{variable}: its schema is {found}, which this MLflow does not know: a newer one has upgraded it; "
            "deploy that image again, or restore the backup from before",
            flush=True,
        )
        return False
    print(f"{variable}: from schema {found} to {wanted}", flush=True)
    return subprocess.run([sys.executable, "-m", *command.split(), os.environ[variable]], check=False).returncode == 0


def schema(connection: sqlalchemy.Connection, table: str) -> str | None:
    """None: a database without tables, or one from before there were versions."""
    if not sqlalchemy.inspect(connection).has_table(table):
        return None
    return connection.execute(sqlalchemy.text(f"SELECT version_num FROM {table}")).scalar()


if __name__ == "__main__":
    sys.exit(main())
