#!/usr/bin/env bash
# The 12 canonical queries (queries/bench/) beside DuckDB on the same Parquet files, both on all cores, warm.
#
# usage: benches/sql_peers.sh [--traces N] [--runs N] [--query NAME]... [--keep DIR] [--growth]
#
# Loads N traces of 10 spans (default 1,000,000: `std10m`), flushes and compacts them, stops the daemon, and asks each
# query `--runs` times (default 5) in one `weavergen sql --data` and in one DuckDB session; prints medians in ms and their
# ratio, and whether the rows are equal. `ago(…)` counts from the end of the data on both sides. `--keep DIR` leaves the
# data there, or takes what is there.
#
# `--growth` asks them of N/10, N and 5 N traces, over the newest half hour of each, without DuckDB, and prints how far the
# medians are apart: what is older must not count. With `--keep` the data are folders in DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
traces=1000000 runs=5 keep='' growth='' queries=()
while [ $# -gt 0 ]; do
    case $1 in
    --growth) growth=1; shift; continue ;;
    --traces) traces=$2 ;;
    --runs) runs=$2 ;;
    --query) queries+=("$2") ;;
    --keep) keep=$2 ;;
    *) echo "usage: benches/sql_peers.sh [--traces N] [--runs N] [--query NAME]... [--keep DIR] [--growth]" >&2; exit 2 ;;
    esac
    shift 2
done

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/weavergen/target}"
peers="${WEAVERGEN_PEERS:-$HOME/.cache/weavergen/peers}"
weavergen="$CARGO_TARGET_DIR/release/weavergen"
mkdir -p "$peers"
[ -n "${WEAVERGEN_BUILT:-}" ] || cargo build --release --locked
if ! cmp -s benches/peers/requirements.sql.txt "$peers/sql/installed.txt"; then
    python3 -m venv "$peers/sql"
    "$peers/sql/bin/pip" install --quiet --disable-pip-version-check -r benches/peers/requirements.sql.txt
    cp benches/peers/requirements.sql.txt "$peers/sql/installed.txt"
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/w.yaml" <<'YAML'
receivers: { otlp: { protocols: { grpc: { endpoint: 127.0.0.1:24317 } } } }
exporters: { weavergen: {} }
service: { pipelines: { traces: { receivers: [otlp], exporters: [weavergen] } }, telemetry: { traces: { level: none } } }
gates: { files: [] }
learn: { enabled: false }
YAML

# Loads $2 traces into the folder $1, unless it has data.
load() {
    [ ! -e "$1/VERSION" ] || return 0
    "$weavergen" run --config "$work/w.yaml" --data "$1" >"$work/server.log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
        (exec 3<>/dev/tcp/127.0.0.1/24317) 2>/dev/null && break
        sleep 0.05
    done
    "$weavergen" loadgen --recipe std --seed 1 --traces "$2" --spans-per-request 1000 --connections 8 \
        --endpoint http://127.0.0.1:24317 >"$work/load.log" || { cat "$work/load.log" "$work/server.log" >&2; exit 1; }
    "$weavergen" store flush --data "$1" >/dev/null
    "$weavergen" store compact --data "$1" >/dev/null
    kill "$server"
    wait "$server" || true
    server=
}

data="${keep:-$work/data}"
asked=(--data "$data")
if [ -n "$growth" ]; then
    asked=(--growth)
    mkdir -p "$data"
    for count in $((traces / 10)) "$traces" $((traces * 5)); do
        load "$data/$count" "$count"
        asked+=(--data "$data/$count")
    done
else
    load "$data" "$traces"
fi
"$peers/sql/bin/python" benches/peers/sql.py --weavergen "$weavergen" --runs "$runs" "${asked[@]}" "${queries[@]}"
