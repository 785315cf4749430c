#!/usr/bin/env bash
# Installs what the tests need beyond cargo, then runs all of them. A missing part is an error that names the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/weavergen/target}"
work="$CARGO_TARGET_DIR/test-deps"
mkdir -p "$work"

need() { # need COMMAND DEBIAN_PACKAGE...
    command -v "$1" >/dev/null && return
    local command=$1
    shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    fi
    command -v "$command" >/dev/null && return
    echo "error: tests need \`$command\`; install it: sudo apt-get install $*" >&2
    exit 1
}

need python3 python3 python3-venv
need node nodejs npm
need npm npm
need strace strace
need psql postgresql-client

# Python's OpenTelemetry SDK, by pinned versions, in an environment of its own.
python="$work/python"
if ! cmp -s tests/clients/requirements.txt "$python/installed.txt"; then
    rm -rf "$python"
    python3 -m venv "$python" || { echo "error: run: sudo apt-get install python3-venv" >&2; exit 1; }
    "$python/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
    cp tests/clients/requirements.txt "$python/installed.txt"
fi

# Node's OpenTelemetry SDK, by lock file.
node="$work/node"
if ! cmp -s tests/clients/package-lock.json "$node/installed.json"; then
    rm -rf "$node" && mkdir -p "$node"
    cp tests/clients/package.json tests/clients/package-lock.json "$node/"
    (cd "$node" && npm ci --silent --no-audit --no-fund)
    cp tests/clients/package-lock.json "$node/installed.json"
fi

export WEAVERGEN_TEST_PYTHON="$python/bin/python"
export WEAVERGEN_TEST_NODE_MODULES="$node/node_modules"
said="$work/said.txt"
status=0
if [ $# -gt 0 ]; then
    cargo test --locked "$@" 2> >(tee "$said" >&2) || status=$?
else
    cargo test --locked --all-targets --no-fail-fast 2> >(tee "$said" >&2) || status=$?
fi
skipped=$(grep -c '^skipped: ' "$said" || true)
echo "$skipped tests skipped"
exit "$status"
