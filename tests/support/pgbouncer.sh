#!/usr/bin/env bash
# Runs the tests with the service behind a pgbouncer in transaction mode; Debian's is installed where there is none.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! PATH="$PATH:/usr/sbin" command -v pgbouncer > /dev/null; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qq --no-install-recommends pgbouncer > /dev/null
fi
SKILLDB_TEST_POOLER=1 exec .venv/bin/pytest -n 2 --dist loadgroup -rs "$@"
