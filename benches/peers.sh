#!/usr/bin/env bash
# Spans per CPU-second of the server, beside two peers that decode and throw away: an OpenTelemetry Collector (otlp to
# nop) and Rotel (blackhole). One run, alternating, the same load from `weavergen loadgen`.
#
# usage: benches/peers.sh [--rounds N] [--traces N] [--row ROW]...
#
# Rows: all-1000, all-100, http-1000 (weavergen with fsync, flush and compaction of every span included), flush-1000
# (without compaction), ack-1000, ack-100, ack-http-1000 (flush held back until after the reading). A server's CPU is user
# and system time of its process, from before the load until it is quiet. Patterns are off; the built-in gates run, as
# `dry_run`, as shipped. All traces start within the hour at hand, 50 ms apart: at most 70,000 have room in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=5 traces=70000 rows=()
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --traces) traces=$2 ;;
    --row) rows+=("$2") ;;
    *) echo "usage: benches/peers.sh [--rounds N] [--traces N] [--row ROW]..." >&2; exit 2 ;;
    esac
    shift 2
done
[ ${#rows[@]} -gt 0 ] || rows=(all-1000 all-100 http-1000 flush-1000 ack-1000)

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/weavergen/target}"
peers="${WEAVERGEN_PEERS:-$HOME/.cache/weavergen/peers}"
weavergen="$CARGO_TARGET_DIR/release/weavergen"
mkdir -p "$peers"
[ -n "${WEAVERGEN_BUILT:-}" ] || cargo build --release --locked
if ! cmp -s benches/peers/requirements.txt "$peers/py/installed.txt"; then
    python3 -m venv "$peers/py"
    "$peers/py/bin/pip" install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
    cp benches/peers/requirements.txt "$peers/py/installed.txt"
fi
rotel=$(find "$peers/py" -name rotel-agent -type f)
chmod +x "$rotel"
if [ ! -x "$peers/collector" ] || ! cmp -s benches/peers/collector/go.mod "$peers/built.mod"; then
    (cd benches/peers/collector && go build -o "$peers/collector" .)
    cp benches/peers/collector/go.mod "$peers/built.mod"
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; rm -rf "$work"' EXIT

wait_port() { # wait_port PORT
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.05
    done
    echo "error: nothing listens on port $1; see $work/server.log" >&2
    exit 1
}

cpu_ticks() { # user and system time of the server, in clock ticks
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$server/stat"
}

start() { # start WHO ROW: GRPC on 24317, HTTP on 24318
    rm -rf "$work/data"
    case $1 in
    weavergen)
        {
            echo "receivers: { otlp: { protocols: { grpc: { endpoint: 127.0.0.1:24317 }, http: { endpoint: 127.0.0.1:24318 } } } }"
            echo "exporters: { weavergen: {} }"
            echo "service: { pipelines: { traces: { receivers: [otlp], exporters: [weavergen] } } }"
            echo "gates: { files: [] }"
            echo "learn: { enabled: false }"
            # Held back: the whole load fits in one generation.
            [[ $2 != ack-* ]] || echo "storage: { memtable: { flush_bytes: 8GiB, flush_after: 1h } }"
            [[ $2 != ack-* ]] || echo "memory: { limit: 90% }"
        } >"$work/weavergen.yaml"
        "$weavergen" run --config "$work/weavergen.yaml" --data "$work/data" >"$work/server.log" 2>&1 &
        ;;
    rotel)
        "$rotel" start --exporter blackhole --otlp-grpc-endpoint 127.0.0.1:24317 \
            --otlp-http-endpoint 127.0.0.1:24318 >"$work/server.log" 2>&1 &
        ;;
    collector)
        "$peers/collector" --config "benches/peers/collector/config.yaml" >"$work/server.log" 2>&1 &
        ;;
    esac
    server=$!
    wait_port 24317
    wait_port 24318
    sleep 0.5
}

stop() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}

measure() { # measure WHO ROW: prints spans per CPU-second
    local per=1000 protocol=grpc endpoint=http://127.0.0.1:24317 before after spans
    case $2 in *-100) per=100 ;; esac
    case $2 in *http-*) protocol=http endpoint=http://127.0.0.1:24318 ;; esac
    start "$1" "$2"
    before=$(cpu_ticks)
    "$weavergen" loadgen --recipe std --seed 1 --traces "$traces" --spans-per-request "$per" --protocol "$protocol" \
        --endpoint "$endpoint" --connections 8 --start "$(date -u +%Y-%m-%dT%H:00:00Z)" --summary "$work/summary.json" >"$work/loadgen.log" 2>&1
    if [[ $1 = weavergen && $2 != ack-* ]]; then
        "$weavergen" store flush --data "$work/data" >/dev/null
        [ "$2" = flush-1000 ] || "$weavergen" store compact --data "$work/data" >/dev/null
        quiet
    fi
    sleep 0.3
    after=$(cpu_ticks)
    spans=$(python3 -c 'import json,sys; s=json.load(open(sys.argv[1])); assert s["failed"]==0 and s["rejected"]==0, s; print(s["acknowledged"])' "$work/summary.json")
    stop
    python3 -c 'import sys; spans,ticks,hz=map(int,sys.argv[1:]); print(round(spans*hz/ticks))' "$spans" "$((after - before))" "$(getconf CLK_TCK)"
}

quiet() { # waits until the server has used no CPU to speak of for two seconds
    local before after=0
    for _ in $(seq 300); do
        before=$(cpu_ticks)
        sleep 2
        after=$(cpu_ticks)
        [ $((after - before)) -gt 6 ] || return 0
    done
    echo "error: the server does not become quiet" >&2
    exit 1
}

echo "$(git rev-parse --short HEAD), $(date -u +%F), $(nproc) cores, $(uname -sm), $traces traces of 10 spans, $rounds rounds"
for row in "${rows[@]}"; do
    : >"$work/$row.txt"
    for round in $(seq "$rounds"); do
        for who in weavergen rotel collector; do
            figure=$(measure "$who" "$row")
            echo "$row round $round: $who $figure" >&2
            echo "$who $figure" >>"$work/$row.txt"
        done
    done
    python3 - "$row" "$work/$row.txt" <<'P'
import statistics, sys
row, path = sys.argv[1:]
found = {}
for line in open(path):
    who, figure = line.split()
    found.setdefault(who, []).append(int(figure))
median = {who: statistics.median(all_of) for who, all_of in found.items()}
best = max(median["rotel"], median["collector"])
shown = ", ".join(f"{who} {median[who]:,.0f} ({min(f):,}..{max(f):,})" for who, f in found.items())
print(f"{row}: spans per CPU-second, median (least..most): {shown}; weavergen / better peer = {median['weavergen'] / best:.2f}")
P
done
