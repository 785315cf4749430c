#!/usr/bin/env bash
# Memory and CPU of the server under a steady load (storage.md 19, rows `steady` and `wide` by --rate and --limit).
#
# usage: benches/steady.sh [--rate N] [--seconds N] [--limit SIZE] [--spans-per-request N]
#
# Starts a daemon of its own with `memory.limit` SIZE (512MiB), sends N spans a second (50000) for so long (600 s), and
# reads resident memory and CPU of its process every second. Prints the peak, the median of the first and of the last
# tenth, CPU seconds a second, and whether every acknowledged span is found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rate=50000 seconds=600 limit=512MiB request=1000
while [ $# -gt 0 ]; do
    case $1 in
    --rate) rate=$2 ;;
    --seconds) seconds=$2 ;;
    --limit) limit=$2 ;;
    --spans-per-request) request=$2 ;;
    *) echo "usage: benches/steady.sh [--rate N] [--seconds N] [--limit SIZE] [--spans-per-request N]" >&2; exit 2 ;;
    esac
    shift 2
done

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/weavergen/target}"
weavergen="$CARGO_TARGET_DIR/release/weavergen"
[ -n "${WEAVERGEN_BUILT:-}" ] || cargo build --release --locked
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/weavergen.yaml" <<Y
receivers: { otlp: { protocols: { grpc: { endpoint: 127.0.0.1:24317 } } } }
exporters: { weavergen: {} }
service: { pipelines: { traces: { receivers: [otlp], exporters: [weavergen] } } }
memory: { limit: $limit }
Y
"$weavergen" run --config "$work/weavergen.yaml" --data "$work/data" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 200); do
    [ ! -s "$work/data/run.json" ] || break
    sleep 0.05
done
[ -s "$work/data/run.json" ] || { echo "error: the daemon did not start:" >&2; cat "$work/server.log" >&2; exit 1; }

"$weavergen" loadgen --endpoint http://127.0.0.1:24317 --rate "$rate" --duration "${seconds}s" \
    --spans-per-request "$request" --connections 4 --summary "$work/summary.json" >/dev/null &
load=$!
while kill -0 "$load" 2>/dev/null; do
    awk '/VmRSS/ { rss = $2 } END { printf "%d ", rss }' "/proc/$server/status" >>"$work/samples"
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$server/stat" >>"$work/samples"
    sleep 1
done
wait "$load"
found=$("$weavergen" sql --data "$work/data" -o csv \
    "SELECT count(*) FROM spans WHERE scope_name = 'weavergen.loadgen'" | tail -1)
python3 - "$work" "$rate" "$limit" "$found" "$(getconf CLK_TCK)" <<'P'
import json, statistics, sys
work, rate, limit, found, hz = sys.argv[1:]
samples = [tuple(map(int, line.split())) for line in open(f"{work}/samples")]
rss = [kib / 1024 for kib, _ in samples]
tenth = max(1, len(rss) // 10)
summary = json.load(open(f"{work}/summary.json"))
sent = summary["acknowledged"]
cpu = (samples[-1][1] - samples[0][1]) / int(hz) / max(1, len(samples) - 1)
print(f"steady: {rate} spans/s asked, {sent:,} acknowledged, {int(found):,} found, failed {summary['failed']}; limit {limit}")
print(f"  resident: peak {max(rss):.0f} MiB, first tenth {statistics.median(rss[:tenth]):.0f}, last tenth {statistics.median(rss[-tenth:]):.0f}; CPU {cpu:.2f} s a second")
P
