#!/bin/sh
# cambwatch for the administrator of the service: install.sh puts it beside the program, as `cambwatch` on the PATH.
#
# The configuration of the service names secrets that only the service can read. For root they are brought together here,
# under the names that the service knows them by, so that every command works, and sees what the next start would see.
# Anybody else runs the program as it is: what is asked of the daemon works (with http.token only for who has the token),
# what needs the secrets (check, render, routes, run) says which are missing.
set -eu
program=$(dirname -- "$(readlink -f -- "$0")")/cambwatch
[ "$(id -u)" = 0 ] && [ -z "${CREDENTIALS_DIRECTORY:-}" ] || exec "$program" "$@"

CREDENTIALS_DIRECTORY=$(mktemp -d)
export CREDENTIALS_DIRECTORY
export STATE_DIRECTORY="${STATE_DIRECTORY:-/var/lib/cambwatch}"  # where the database of the service is
trap 'rm -rf -- "$CREDENTIALS_DIRECTORY"' EXIT
trap : INT TERM  # the program hears it too, and ends by itself
for file in /run/credentials/cambwatch.service/*; do  # those that come by other ways, such as encrypted
    [ ! -f "$file" ] || ln -s -- "$file" "$CREDENTIALS_DIRECTORY/"
done
for folder in camb http destinations; do
    for file in "/etc/cambwatch/credentials/$folder"/*; do
        [ ! -f "$file" ] || ln -sf -- "$file" "$CREDENTIALS_DIRECTORY/${folder}_${file##*/}"
    done
done
status=0
"$program" "$@" || status=$?
exit "$status"
