"""Waits until both databases have the schemas of the installed MLflow: the migration has run.

In: MLFLOW_BACKEND_STORE_URI and MLFLOW_AUTH_DATABASE_URI (and libpq's PG* variables). Out: exit status 0, or 1 after
WAIT_S seconds (600). A server that starts earlier would make the tables itself, several at once.
"""

import os
import sys
import time
from importlib.resources import files

import sqlalchemy
from alembic.script import ScriptDirectory

SCHEMAS = {
    "MLFLOW_BACKEND_STORE_URI": ("mlflow.store.db_migrations", "alembic_version"),
    "MLFLOW_AUTH_DATABASE_URI": ("mlflow.server.auth.db.migrations", "alembic_version_auth"),
}


def missing(variable: str) -> str | None:
    """What is still to wait for, or None."""
    package, table = SCHEMAS[variable]
    wanted = ScriptDirectory(str(files(package))).get_current_head()
    engine = sqlalchemy.create_engine(os.environ[variable], connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            found = connection.execute(sqlalchemy.text(f"SELECT version_num FROM {table}")).scalar()
    except sqlalchemy.exc.SQLAlchemyError as error:
        return f"{variable}: {str(error).splitlines()[0]}"
    finally:
        engine.dispose()
    return None if found == wanted else f"{variable}: schema {found}, waiting for {wanted}"


def main() -> int:
    deadline = time.monotonic() + float(os.environ.get("WAIT_S", "600"))
    said = None
    while waiting := next(filter(None, map(missing, SCHEMAS)), None):
        if waiting != said:
            print(waiting, flush=True)
            said = waiting
        if time.monotonic() > deadline:
            print("gave up; look at the logs of the Job mlflow-migrate-*", flush=True)
            return 1
        time.sleep(2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
