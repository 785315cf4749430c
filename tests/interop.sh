#!/usr/bin/env bash
# What is heavier than CI allows: the crash loop at 200 rounds, a minute of decoder fuzzing, a sick object store over 500
# seeds, daemons that start at once on a bucket of versitygw, the unit tests that are ignored.
#
# usage: tests/interop.sh [--rounds N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=200
if [ "${1:-}" = --rounds ]; then
    rounds=${2:?--rounds needs a number}
fi
export CRASH_ROUNDS=$rounds FUZZ_SECONDS=60
tests/run.sh --test it -- --nocapture crash:: decoder::

# An S3 server that makes creators of one name race for it, which moto's does not.
gateway="${CARGO_TARGET_DIR:-$HOME/.cache/weavergen/target}/test-deps/versitygw"
if [ ! -x "$gateway/versitygw" ]; then
    command -v go >/dev/null || { echo "error: this needs \`go\`; install it: https://go.dev/dl" >&2; exit 1; }
    mkdir -p "$gateway"
    GOBIN="$gateway" go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
fi
export WEAVERGEN_TEST_VERSITYGW="$gateway/versitygw"
tests/run.sh --test it -- --nocapture --ignored s3::

# The unit tests that take a minute and more each: a sick object store, power loss, a sick disk and a stop at every
# operation of the disk, a stop of the engine at every write, choose_variant on every small table.
tests/run.sh --lib -- --ignored | grep -a '^test '
