#!/usr/bin/env bash
# What is heavier than CI allows: the crash loop at 200 rounds, a minute of decoder fuzzing.
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
