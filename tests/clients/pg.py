"""Asks a daemon over PostgreSQL's wire with psycopg, SQLAlchemy and asyncpg; prints what each found as JSON.

usage: pg.py HOST PORT, with {"queries": [sql, ...]} on standard input
"""

import asyncio
import datetime
import decimal
import json
import sys

import asyncpg
import psycopg
import sqlalchemy

HOST, PORT = sys.argv[1], int(sys.argv[2])
ASKED = json.load(sys.stdin)
DSN = f"host={HOST} port={PORT} user=me dbname=default"


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")
    if isinstance(value, (datetime.date, datetime.timedelta)):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return value


def by_psycopg(queries):
    found = {}
    with psycopg.connect(DSN) as connection:
        for binary in (False, True):
            found["binary" if binary else "text"] = [
                plain(connection.cursor(binary=binary).execute(sql).fetchall()) for sql in queries
            ]
        simple = psycopg.ClientCursor(connection)
        found["simple"] = [plain(simple.execute(sql).fetchall()) for sql in queries]
        connection.commit()

        one = lambda sql, values, **more: connection.execute(sql, values, **more).fetchone()
        when = datetime.datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
        sent = ["it's; DROP TABLE spans --", 41, 1.5, True, None, when, datetime.date(2020, 1, 2), decimal.Decimal("2.5")]
        sql = "SELECT %s::text, %s::bigint, %s::double precision, %s::boolean, %s::text, %s::timestamptz, %s::date, %s::double precision"
        found["sent"] = plain(sent)
        found["parameters"] = [plain(one(sql, sent, binary=binary)) for binary in (False, True)]
        found["array"] = plain(one("SELECT count(*) FROM spans WHERE name = ANY(%s)", [["nobody", "x,y"]]))
        found["since"] = plain(one("SELECT count(*) > 0 FROM spans WHERE start_time > %s", [when]))
        found["prepared"] = [plain(one("SELECT count(*) FROM spans WHERE duration_ns >= %s", [n], prepare=True)) for n in (0, 1 << 60)]
        connection.commit()

        states = []
        for sql in ("SELECT nme FROM spans", "DROP TABLE spans"):
            try:
                connection.execute(sql)
            except psycopg.Error as error:
                states.append([error.sqlstate, type(error).__name__, error.diag.message_hint is not None])
            connection.rollback()
        found["states"] = states
        with connection.transaction():
            try:
                with connection.transaction():
                    connection.execute("SELECT 1 +")
            except psycopg.errors.SyntaxError:
                pass
            found["after_savepoint"] = plain(one("SELECT 1", []))
        connection.autocommit = True
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        rows = connection.execute("SELECT * FROM generate_series(1, 1001) a CROSS JOIN generate_series(1, 1000) b").fetchall()
        found["capped"] = [len(rows), notices]
    return found


def by_sqlalchemy():
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://me@{HOST}:{PORT}/default")
    tables = sqlalchemy.inspect(engine).get_table_names()
    spans = sqlalchemy.table("spans", *map(sqlalchemy.column, ("name", "start_time", "duration_ns")))
    with engine.connect() as connection:
        count = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(spans)).scalar()
        some = connection.execute(sqlalchemy.select(spans.c.name, spans.c.start_time).where(spans.c.duration_ns > 0).limit(2))
        names = [plain(list(row)) for row in some]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        isolated = connection.exec_driver_sql("SELECT 1").scalar()
    reflected = sqlalchemy.Table("spans", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        whole = len(connection.execute(sqlalchemy.select(reflected).where(reflected.c.duration_ns >= 0).limit(2)).all())
    everything = sqlalchemy.MetaData()
    everything.reflect(engine, views=True)
    system = sqlalchemy.MetaData()
    system.reflect(engine, schema="system")
    inspector = sqlalchemy.inspect(engine)
    return {
        "tables": tables,
        "views": inspector.get_view_names(),
        "schemas": inspector.get_schema_names(),
        "count": count,
        "rows": len(names),
        "isolated": isolated,
        "columns": {column.name: str(column.type) for column in reflected.columns},
        "keys": [column.name for column in reflected.primary_key],
        "whole": whole,
        "everything": sorted(everything.tables),
        "system": sorted(system.tables),
        "of_spans": [
            inspector.get_pk_constraint("spans")["constrained_columns"],
            inspector.get_foreign_keys("spans"),
            inspector.get_indexes("spans"),
            inspector.get_unique_constraints("spans"),
            inspector.get_check_constraints("spans"),
            inspector.get_table_comment("spans")["text"],
        ],
        "has": [inspector.has_table(name) for name in ("spans", "nothing_of_that_name")],
    }


async def by_asyncpg(queries):
    connection = await asyncpg.connect(host=HOST, port=PORT, user="me", database="default")
    rows = [[plain(list(row.values())) for row in await connection.fetch(sql)] for sql in queries]
    when = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
    since = await connection.fetchval("SELECT count(*) > 0 FROM spans WHERE start_time > $1 AND duration_ns >= $2", when, 0)
    listed = await connection.fetchval("SELECT count(*) FROM spans WHERE name = ANY($1)", ["nobody"])
    limited = len(await connection.fetch("SELECT name FROM spans LIMIT $1 OFFSET $2", 2, 1))
    sent = [1, 2, 1.5, True, None, None, ["a", None], "{}"]
    casts = "SELECT $1::int, $2::bigint, $3::float8, $4::bool, $5::text, $6::int, $7::text[], $8::jsonb"
    given = plain(list((await connection.fetchrow(casts, *sent)).values()))
    try:
        await connection.execute("SELECT nme FROM spans")
        state = None
    except asyncpg.PostgresError as error:
        state = error.sqlstate
    async with connection.transaction():
        inside = await connection.fetchval("SELECT 1::bigint")
    await connection.close()
    pool = await asyncpg.create_pool(host=HOST, port=PORT, user="me", database="default", min_size=1, max_size=2)
    pooled = [await pool.fetchval("SELECT 7::bigint") for _ in range(3)]
    await pool.close()
    return {"rows": rows, "since": since, "listed": listed, "state": state, "inside": inside, "pooled": pooled,
            "limited": limited, "sent": sent, "given": given}


found = {}
for name, ask in (
    ("psycopg", lambda: by_psycopg(ASKED["queries"])),
    ("sqlalchemy", by_sqlalchemy),
    ("asyncpg", lambda: asyncio.run(by_asyncpg(ASKED["queries"]))),
):
    if ASKED.get("only") in (None, name):
        found[name] = ask()
json.dump(found, sys.stdout)
