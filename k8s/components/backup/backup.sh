# Both databases as of now, into $BACKUP/databases/TIME; older ones than the newest $KEEP go.
set -euo pipefail
databases=$BACKUP/databases
to=$databases/$(date -u +%Y%m%d-%H%M%S)
rm -rf "$databases"/*.unfinished # of a backup that was killed
mkdir -p "$to.unfinished"
for database in mlflow mlflow_auth; do
    pg_dump --no-password --format=custom --no-owner --file="$to.unfinished/$database.dump" "$database"
    pg_restore --list "$to.unfinished/$database.dump" > /dev/null # it can be read
done
mv "$to.unfinished" "$to" # whole or not at all
find "$databases" -mindepth 1 -maxdepth 1 -type d | sort | head -n "-$KEEP" | xargs -r rm -r --
echo "databases are in $to"
