"""The canonical queries in `weavergen sql --data` and in DuckDB over the same parts: medians, ratio, equal rows or not.

DuckDB is asked for what our statement means, in its own words: a promoted attribute is the column `attr.KEY`, others are
read from the list `attributes`; `traces` and `service_graph` are written out. Quantiles are estimates on both sides and
compared within 3 %; doubles within 1e-6.

With `--growth` our times alone, over several data folders: what a query costs over the newest WINDOW of each. `traces`
looks an hour further back for the spans of its traces, as far as the data goes.
"""

import argparse
import datetime
import json
import math
import os
import re
import statistics
import subprocess
import tempfile
import time

import duckdb

QUERIES = "queries/bench"
# No longer than the smallest data of `--growth`: a million spans are 36 minutes.
WINDOW = "30m"
TRACES = """(SELECT trace_id, min(start_time) AS start_time, max(epoch_ns(start_time::TIMESTAMP_NS) + duration_ns) -
  epoch_ns(min(start_time)::TIMESTAMP_NS) AS trace_duration_ns,
  arg_min(service_name, start_time) FILTER (WHERE parent_span_id IS NULL) AS root_service,
  arg_min(name, start_time) FILTER (WHERE parent_span_id IS NULL) AS root_name,
  count(*) AS span_count, count(*) FILTER (WHERE status_code = 'error') AS error_count
  FROM spans WHERE start_time >= {wide} GROUP BY trace_id)"""
DUCKDB = {
    "q_trace": "SELECT * FROM spans WHERE trace_id = unhex('{trace}') ORDER BY start_time",
    "q_top": "SELECT * FROM spans WHERE service_name = 'checkout' AND status_code = 'error' ORDER BY start_time DESC LIMIT 100",
    "q_slow": """SELECT trace_id, span_id, name, start_time, duration_ns / 1e6 FROM spans WHERE service_name = 'checkout'
      AND kind = 'server' AND start_time >= {ago_1h} ORDER BY duration_ns DESC LIMIT 20""",
    "q_attr": """SELECT count(*) FROM spans WHERE "attr.http.route" = '/api/cart'""",
    "q_rare": """SELECT trace_id, start_time, 'SPRING' FROM spans
      WHERE list_contains(list_transform(attributes, lambda a: a.key || '=' || coalesce(a.s, '')), 'app.coupon=SPRING')""",
    "q_all": """SELECT trace_id, span_id, start_time, duration_ns / 1e6 FROM spans WHERE service_name = 'checkout'
      AND name = 'POST /pay' AND duration_ns > 200000000 AND "attr.http.response.status_code" = 500
      AND start_time BETWEEN {from} AND {to} ORDER BY start_time DESC LIMIT 20""",
    "q_red": """SELECT time_bucket(INTERVAL '1 minute', start_time::TIMESTAMPTZ) AS t, service_name, count(*) AS calls,
      count(*) FILTER (WHERE status_code = 'error') AS errors, approx_quantile(duration_ns, 0.95) / 1e6
      FROM spans WHERE is_entry AND start_time >= {ago_1h} GROUP BY 1, 2 ORDER BY 1, 2""",
    "q_route": """SELECT "attr.http.route" AS route, count(*) AS calls, approx_quantile(duration_ns, 0.99) AS p99_ns
      FROM spans WHERE service_name = 'frontend' GROUP BY 1 ORDER BY 3 DESC LIMIT 20""",
    "q_traces": "SELECT trace_id, root_service, root_name, trace_duration_ns, span_count FROM " + TRACES
      + " WHERE start_time >= {ago_15m} AND error_count > 0 ORDER BY trace_duration_ns DESC LIMIT 20",
    "q_child": """SELECT p.name AS caller, c.name AS callee, count(*) AS n, avg(c.duration_ns / 1e6) AS ms FROM spans p
      JOIN spans c ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id WHERE p.service_name = 'checkout'
      AND c."attr.db.system.name" = 'postgresql' AND c.duration_ns > 50000000 AND p.start_time >= {from}
      AND c.start_time >= {from} GROUP BY 1, 2""",
    "q_graph": """SELECT p.service_name, c.service_name, count(*) AS calls,
      count(*) FILTER (WHERE c.status_code = 'error') AS errors, approx_quantile(c.duration_ns, 0.5) / 1e6,
      approx_quantile(c.duration_ns, 0.95) / 1e6 FROM spans c JOIN spans p ON p.trace_id = c.trace_id
      AND p.span_id = c.parent_span_id WHERE c.kind IN ('server', 'consumer') AND p.service_name <> c.service_name
      AND c.start_time >= {ago_6h} GROUP BY 1, 2 ORDER BY 3 DESC""",
    "q_events": """SELECT service_name, list_filter(e.attributes, lambda a: a.key = 'exception.type')[1].s AS type,
      count(*) AS n FROM (SELECT service_name, unnest(events) AS e FROM spans WHERE start_time >= {ago_2h}) WHERE e.name = 'exception'
      AND e.time >= {ago_1h} GROUP BY 1, 2 ORDER BY 3 DESC""",
}
# Rows beside the canonical queries, which the mean leaves out.
MORE = {"newest_by_attribute": "SELECT * FROM spans WHERE attributes['http.route'] = '/api/cart' ORDER BY start_time DESC LIMIT 100;"}
DUCKDB["newest_by_attribute"] = """SELECT * FROM spans WHERE "attr.http.route" = '/api/cart' ORDER BY start_time DESC LIMIT 100"""
# Where equal sort keys leave the choice of rows open, or columns are called and typed otherwise.
COUNTED = {"q_trace", "q_top", "q_slow", "q_all", "q_traces", "newest_by_attribute"}


class Clock:
    """The end of the data, as both dialects write instants before it."""

    def __init__(self, end):
        self.end = end

    def before(self, span):
        unit = {"m": "minutes", "h": "hours"}[span[-1]]
        at = self.end - datetime.timedelta(**{unit: int(span[:-1])})
        return "TIMESTAMPTZ '" + at.strftime("%Y-%m-%d %H:%M:%S.%f+00") + "'"


def newest(sql, clock):
    """`sql` over the newest WINDOW, whatever it asks for further back."""
    sql = re.sub(r"ago\('\d+h'\)", f"ago('{WINDOW}')", sql)
    return re.sub(r"\b(FROM|JOIN) spans\b", rf"\1 (SELECT * FROM spans WHERE start_time >= {clock.before(WINDOW)})", sql)


def ours(args, data, names, trace, clock, out):
    """Rows by query, and the times in ms of `args.runs` runs each, in one offline shell."""
    script = ["\\timing on"]
    for name in names:
        text = MORE.get(name) or open(f"{QUERIES}/{name}.sql", encoding="utf-8").read()
        sql = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
        if args.growth:
            sql = newest(sql, clock)
        since = clock.before(WINDOW if args.growth else "1h")
        sql = sql.replace("$trace", f"'{trace}'").replace("$from", since).replace("$to", clock.before("0m"))
        sql = re.sub(r"ago\('(\w+)'\)", lambda found: clock.before(found[1]), sql).replace("now()", clock.before("0m"))
        script += [f".output json {out}/{name}.json", sql, ".output ndjson /dev/null"] + [sql] * args.runs
    done = subprocess.run([args.weavergen, "sql", "--data", data], input="\n".join(script) + "\n", text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    times = [float(ms) for ms in re.findall(r"^([\d.]+) ms, \d+ row", done.stderr, re.M)]
    assert len(times) == len(names) * (args.runs + 1), done.stderr
    rows, each = {}, args.runs + 1
    for at, name in enumerate(names):
        rows[name] = [list(row) for row in json.load(open(f"{out}/{name}.json", encoding="utf-8"))["rows"]]
    return rows, {name: times[at * each + 1 : (at + 1) * each] for at, name in enumerate(names)}


def live_parts(args, data):
    """The files that our statements read: those that compaction has replaced lie beside them for a while."""
    done = subprocess.run([args.weavergen, "store", "ls", "--data", data, "-o", "ndjson", "--limit", "1000000"],
                          text=True, capture_output=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [os.path.join(data, row["path"]) for row in rows if row.get("kind") == "part"]


def theirs(args, names, trace, clock, files):
    db = duckdb.connect()
    db.execute(f"SET threads = {os.cpu_count()}; SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
    db.execute(f"CREATE VIEW spans AS SELECT * FROM read_parquet({files}, union_by_name = true)")
    fill = {f"ago_{span}": clock.before(span) for span in ["15m", "1h", "2h", "6h"]}
    fill |= {"from": clock.before("1h"), "to": clock.before("0m"), "trace": trace, "wide": clock.before("75m")}
    rows, times = {}, {}
    for name in names:
        sql = DUCKDB[name].format(**fill)
        rows[name] = db.execute(sql).fetchall()
        times[name] = []
        for _ in range(args.runs):
            begun = time.perf_counter()
            db.execute(sql).fetchall()
            times[name].append((time.perf_counter() - begun) * 1e3)
    return rows, times


def same(name, left, right):
    if len(left) != len(right):
        return f"NO: {len(left)} and {len(right)} rows"
    if name in COUNTED:
        return f"{len(left)} rows each"
    def near(a, b):
        if isinstance(a, (int, float)) and isinstance(b, (int, float)):
            return math.isclose(a, b, rel_tol=0.03 if name in {"q_red", "q_route", "q_graph"} and isinstance(a, float) else 1e-6)
        return isinstance(b, (bytes, datetime.datetime)) or a == b
    def key(row):
        return [str(cell) for cell in row if isinstance(cell, str)] + [cell for cell in row if isinstance(cell, int)]
    text = lambda rows: sorted(rows, key=lambda row: json.dumps([c for c in row if isinstance(c, (str, int))], default=str))
    pairs = zip(text(left), text([list(row) for row in right])) if name != "q_red" else zip(left, right)
    bad = [(a, b) for a, b in pairs if not all(near(x, y) for x, y in zip(a, b))]
    return "equal" if not bad else f"NO: {bad[0]}"


def about(files, growth):
    """The clock at the end of the data, how many spans there are, and a trace of the middle, with `growth` of WINDOW's."""
    ask, parts = duckdb.connect(), f"read_parquet({files}, union_by_name = true)"
    end, spans = ask.execute(f"SELECT epoch_us(max(start_time)::TIMESTAMPTZ), count(*) FROM {parts}").fetchone()
    clock = Clock(datetime.datetime.fromtimestamp(end / 1e6, datetime.timezone.utc))
    middle = f"WHERE start_time BETWEEN {clock.before('20m')} AND {clock.before('10m')}" if growth else f"OFFSET {spans // 2}"
    trace = ask.execute(f"SELECT lower(hex(trace_id)) FROM {parts} {middle} LIMIT 1").fetchone()[0]
    return clock, spans, trace


def compared(args, names):
    files = live_parts(args, args.data[0])
    clock, spans, trace = about(files, growth=False)
    with tempfile.TemporaryDirectory() as out:
        our_rows, our_times = ours(args, args.data[0], names, trace, clock, out)
    their_rows, their_times = theirs(args, names, trace, clock, files)
    print(f"{spans} spans, {len(files)} parts, {os.cpu_count()} cores, {args.runs} runs, DuckDB {duckdb.__version__}")
    print("| query | weavergen ms | DuckDB ms | ratio | rows |\n|---|---|---|---|---|")
    ratios = []
    for name in names:
        mine, other = statistics.median(our_times[name]), statistics.median(their_times[name])
        ratios += [] if name in MORE else [mine / other]
        print(f"| {name} | {mine:.1f} | {other:.1f} | {mine / other:.2f} | {same(name, our_rows[name], their_rows[name])} |")
    if ratios:
        print(f"| geometric mean | | | {statistics.geometric_mean(ratios):.2f} | |")


def grown(args, names):
    sizes, columns = [], []
    for data in args.data:
        clock, spans, trace = about(live_parts(args, data), growth=True)
        with tempfile.TemporaryDirectory() as out:
            _, times = ours(args, data, names, trace, clock, out)
        sizes.append(f"{spans} spans")
        columns.append({name: statistics.median(times[name]) for name in names})
    print(f"ms over the newest {WINDOW}, {os.cpu_count()} cores, {args.runs} runs")
    print(f"| query | {' | '.join(sizes)} | most / least |\n|---|{'---|' * (len(sizes) + 1)}")
    for name in names:
        row = [column[name] for column in columns]
        print(f"| {name} | {' | '.join(f'{ms:.1f}' for ms in row)} | {max(row) / min(row):.2f} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weavergen", required=True)
    parser.add_argument("--data", required=True, action="append")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("queries", nargs="*")
    args = parser.parse_args()
    names = args.queries or list(DUCKDB)
    (grown if args.growth else compared)(args, names)


if __name__ == "__main__":
    main()
