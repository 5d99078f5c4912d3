#!/bin/sh
# Starts PostgreSQL for FerretDB. The administrator's password is that of the file at every
# start, so that a Secret that was generated again locks nobody out.
#
# POSTGRES_USER (default ashchat), POSTGRES_PASSWORD_FILE; data in PGDATA (below a volume),
# sockets in /var/run/postgresql (an emptyDir where the root is read-only).
set -eu
user=${POSTGRES_USER:-ashchat}
: "${POSTGRES_PASSWORD_FILE:?the file with the password}"
data=$PGDATA/18
if [ ! -s "$data/PG_VERSION" ]; then
  # Into another folder first: an interrupted initdb leaves no partial database.
  rm -rf "$data.new"
  initdb --pgdata="$data.new" --username=postgres --auth-local=peer --auth-host=scram-sha-256 \
    --encoding=UTF8 --no-instructions >/dev/null
  mv "$data.new" "$data"
fi
# The extension itself connects to localhost to create indexes and users, which is therefore
# trusted. PostgreSQL listens on loopback only; clients connect to FerretDB's port.
cat > "$data/pg_hba.conf" <<HBA
local all all trust
host  all all 127.0.0.1/32 trust
host  all all ::1/128 trust
HBA
# The extension runs a job every two seconds. Do not log it, neither to the output nor to a table
# that would grow without bound.
cat > "$data/postgresql.auto.conf" <<CONF
listen_addresses = 'localhost'
unix_socket_directories = '/var/run/postgresql'
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
cron.log_run = off
cron.log_statement = off
max_connections = 200
shared_buffers = '128MB'
log_min_messages = warning
CONF
# Standalone first: nobody can log in before the password is set.
password=$(cat "$POSTGRES_PASSWORD_FILE")
quoted=$(printf %s "$password" | sed "s/'/''/g")
pg_ctl --pgdata="$data" --wait --silent --log=/dev/stderr -o "-c listen_addresses=localhost" start
psql --quiet --no-psqlrc --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 >/dev/null <<SQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS documentdb CASCADE;
DO \$\$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$user') THEN
    CREATE ROLE "$user" LOGIN SUPERUSER;
  END IF;
END \$\$;
ALTER ROLE "$user" WITH LOGIN SUPERUSER PASSWORD '$quoted';
SQL
pg_ctl --pgdata="$data" --wait --silent --mode=fast stop
exec postgres -D "$data"
