#!/usr/bin/env bash
# What is heavier than CI allows: the crash loop at 200 rounds, a minute of decoder fuzzing, the unit tests that are ignored.
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

# The unit tests that take a minute each: a stop of the engine at every write, choose_variant on every small table.
tests/run.sh --lib -- --ignored | grep -a '^test '
