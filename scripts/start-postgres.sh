#!/usr/bin/env bash
# Prints the address of a PostgreSQL server for the tests, whose user may create databases: the one of SLUICE_POSTGRES, or
# the one on this machine. Where there is none, it installs PostgreSQL as Debian has it, and starts a server of its own.
set -euo pipefail

answers() {
  command -v psql > /dev/null && psql "$1" --no-password --quiet --command "SELECT 1" > /dev/null 2>&1
}

for address in "${SLUICE_POSTGRES:-}" postgres://postgres@127.0.0.1:5432/postgres; do
  if [ -n "$address" ] && answers "$address"; then
    echo "$address"
    exit 0
  fi
done

as_root=""
as_postgres=""
if [ "$(id -u)" -eq 0 ]; then
  # PostgreSQL does not run as root.
  as_postgres="runuser -u postgres --"
else
  as_root="sudo"
fi

bin() {
  # Of several versions, the newest.
  find /usr/lib/postgresql -path "*/bin/initdb" 2> /dev/null | sort -V | tail -1 | xargs -r dirname
}

if [ -z "$(bin)" ]; then
  $as_root apt-get update 1>&2
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql 1>&2
fi

port=54329
folder=$($as_postgres mktemp -d /tmp/sluice-postgres-XXXXXX)
$as_postgres "$(bin)/initdb" --auth trust --username postgres --pgdata "$folder/data" 1>&2
$as_postgres "$(bin)/pg_ctl" --pgdata "$folder/data" --log "$folder/log" --wait \
  --options "-p $port -h 127.0.0.1 -k $folder" start 1>&2
echo "postgres://postgres@127.0.0.1:$port/postgres"
