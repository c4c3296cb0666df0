# Both databases as of $OF, a folder of $BACKUP/databases or "newest". What they hold now is replaced.
set -euo pipefail
databases=$BACKUP/databases
if [ "$OF" = newest ]; then
    OF=$(find "$databases" -mindepth 1 -maxdepth 1 -type d ! -name "*.unfinished" -printf "%f\n" | sort | tail -n 1)
fi
if [ ! -f "$databases/$OF/mlflow.dump" ]; then
    echo "there is no backup $databases/$OF; there are: $(ls "$databases")" >&2
    exit 1
fi
for database in mlflow mlflow_auth; do
    connected=$(psql --no-password --dbname=postgres -Atqc \
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '$database' AND pid <> pg_backend_pid()")
    if [ "$connected" != 0 ]; then
        echo "$database has $connected connections; first: kubectl -n platform scale deployment/mlflow --replicas=0" >&2
        exit 1
    fi
    dropdb --no-password --if-exists "$database"
    createdb --no-password "$database"
    pg_restore --no-password --exit-on-error --no-owner --dbname="$database" "$databases/$OF/$database.dump"
done
echo "databases are as of $OF"
