#!/usr/bin/env bash
# What is heavier than CI allows (storage.md 18, column *full*): the crash loop, a minute of decoder fuzzing, overload under
# a memory limit, daemons that start at once on a bucket of versitygw, the real Alertmanager told of 200 services, and the unit tests that are ignored: power loss,
# sick disks, sick object stores, a stop at every operation of the disk, a long run.
#
# usage: tests/interop.sh [--rounds N] [--seeds N] [--minutes N] [--stride N] [--only PART]...
#
#   --rounds N    kills of C1 (200)
#   --seeds N     seeds of C2 (2000), and of C8 and C9 (500)
#   --minutes N   how long C16 (30) and C12 (5) run
#   --stride N    C4 takes one operation of the disk in N (1)
#   --only PART   one of: crash memory s3 alertmanager power points disk objects long units; repeatable, all without it
#
# C12 runs in a control group of its own where WEAVERGEN_TEST_CGROUP names a memory group that may be written to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
parts="crash memory s3 alertmanager power points disk objects long units"
usage() { sed -n 's/^# \(usage: .*\)/\1/p' tests/interop.sh >&2; exit 2; }
chosen=
export CRASH_ROUNDS=200 FUZZ_SECONDS=60
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --only) [[ " $parts " = *" $2 "* ]] || usage; chosen="$chosen $2" ;;
    --rounds | --seeds | --minutes | --stride) [[ $2 =~ ^[1-9][0-9]*$ ]] || usage ;;&
    --rounds) CRASH_ROUNDS=$2 ;;
    --seeds) export POWER_SEEDS=$2 SICK_SEEDS=$2 OBJECT_SEEDS=$2 ;;
    --minutes) export LONG_MINUTES=$2 MEMORY_SECONDS=$((60 * $2)) ;;
    --stride) export POINT_STRIDE=$2 ;;
    *) usage ;;
    esac
    shift 2
done
is_due() { [[ -z "$chosen" || " $chosen " = *" $1 "* ]]; }
units() { tests/run.sh --lib -- --ignored --nocapture "$@" | grep -aE '^test |[0-9] (seeds|runs|operations)|requests of|Sample'; }

if is_due crash; then tests/run.sh --test it -- --nocapture crash:: decoder::; fi
if is_due memory; then tests/run.sh --test it -- --nocapture --ignored memory::; fi
if is_due s3; then
    # An S3 server that makes creators of one name race for it, which moto's does not.
    gateway="${CARGO_TARGET_DIR:-$HOME/.cache/weavergen/target}/test-deps/versitygw"
    if [ ! -x "$gateway/versitygw" ]; then
        command -v go >/dev/null || { echo "error: this needs \`go\`; install it: https://go.dev/dl" >&2; exit 1; }
        mkdir -p "$gateway"
        GOBIN="$gateway" go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
    fi
    export WEAVERGEN_TEST_VERSITYGW="$gateway/versitygw"
    tests/run.sh --test it -- --nocapture --ignored s3::
fi
if is_due alertmanager; then
    # Debian's package; WEAVERGEN_TEST_ALERTMANAGER names another binary.
    program=${WEAVERGEN_TEST_ALERTMANAGER:-prometheus-alertmanager}
    if ! command -v "$program" >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus-alertmanager >/dev/null
    fi
    command -v "$program" >/dev/null ||
        { echo "error: this needs Alertmanager; install it: sudo apt-get install prometheus-alertmanager" >&2; exit 1; }
    export WEAVERGEN_TEST_ALERTMANAGER=$program
    tests/run.sh --test it -- --nocapture --ignored alertmanager::
fi
if is_due power; then units store::tests::power; fi
if is_due points; then units store::tests::points; fi
if is_due disk; then units store::tests::sick; fi
if is_due objects; then units store::tests::objects; fi
if is_due long; then units store::tests::long; fi
# The others that take a minute and more: the catalogue's model, a stop of the engine at every write, choose_variant on
# every small table, a day of keys that come and go at gates.
if is_due units; then
    units --skip store::tests::power --skip store::tests::points --skip store::tests::sick \
        --skip store::tests::objects --skip store::tests::long
fi
