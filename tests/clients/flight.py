"""What an ADBC client of Flight SQL gets: steps by name, each answer as JSON on standard output.

Arguments: host:port of the API, and a token where one is needed.
"""

import json
import sys
import threading
import time
import urllib.request

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight
import pyarrow
import pyarrow.ipc

address = sys.argv[1]
token = sys.argv[2] if len(sys.argv) > 2 else None
said = {}


def connect(**options):
    return flight.connect(f"grpc://{address}", db_kwargs=options, autocommit=True)


def refused(does):
    """Class and text of the error that `does` ends in."""
    try:
        does()
    except Exception as error:  # noqa: BLE001: which one it is, is what is asked
        return [type(error).__name__, str(error)]
    return None


def over_http(sql):
    request = urllib.request.Request(f"http://{address}/api/v1/sql?format=arrow", data=sql.encode())
    with urllib.request.urlopen(request) as answer:
        return pyarrow.ipc.open_stream(answer.read()).read_all()


def running():
    sql = "SELECT count(*) FROM system.queries WHERE state = 'running' AND surface = 'flight'"
    return over_http(sql).column(0)[0].as_py()


def ends_within(seconds):
    began = time.monotonic()
    while running() > 0:
        if time.monotonic() - began > seconds:
            return False
        time.sleep(0.02)
    return True


if token is not None:
    one = "SELECT 1"
    bearer = {"adbc.flight.sql.authorization_header": f"Bearer {token}"}
    for name, options in {
        "nobody": {},
        "guess": {"adbc.flight.sql.authorization_header": "Bearer guess"},
        "bearer": bearer,
        "password": {"username": "someone", "password": token},
        "wrong_password": {"username": "someone", "password": "guess"},
    }.items():

        def ask(options=options):
            with connect(**options) as connection, connection.cursor() as cursor:
                cursor.execute(one)
                cursor.fetchall()

        said[name] = refused(ask)
    print(json.dumps(said))
    sys.exit(0)

connection = connect()
cursor = connection.cursor()

same = []
for sql in [
    "SELECT * FROM spans ORDER BY trace_id, span_id",
    "SELECT service_name, count(*) AS n, avg(duration_ms) AS ms FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT attributes, resource, events, links FROM spans ORDER BY trace_id, span_id",
    "SELECT * FROM spans WHERE false",
    "SHOW TABLES",
    "SELECT * FROM traces ORDER BY trace_id",
]:
    cursor.execute(sql)
    of_flight = cursor.fetch_arrow_table()
    of_http = over_http(sql)
    same.append([sql, of_flight.equals(of_http), of_flight.num_rows])
said["same"] = same

count = "SELECT count(*) FROM spans WHERE duration_ns >= $1 AND service_name = $2"
cursor.execute("SELECT service_name, count(*) FROM spans GROUP BY 1 ORDER BY 2 DESC LIMIT 1")
service, expected = cursor.fetchone()
cursor.execute(count, (0, service))
said["parameters"] = [cursor.fetchone()[0], expected]
cursor.execute("SELECT $1, $2, $3, $4", ("it's; DROP TABLE spans --", 1.5, None, True))
said["hostile_values"] = list(cursor.fetchone())
schema = cursor.adbc_prepare(count)
said["parameter_types"] = [str(field.type) for field in schema]
said["execute_schema"] = cursor.adbc_execute_schema("SELECT name, duration_ns FROM spans").names

objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
said["catalogs"] = [catalog["catalog_name"] for catalog in objects]
schemas = {schema["db_schema_name"]: schema["db_schema_tables"] for schema in objects[0]["catalog_db_schemas"]}
said["schemas"] = sorted(schemas)
spans = next(table for table in schemas["public"] if table["table_name"] == "spans")
said["columns"] = [column["column_name"] for column in spans["table_columns"]][:4]
said["table_type"] = spans["table_type"]
said["table_schema"] = connection.adbc_get_table_schema("spans").names[:4]
said["table_types"] = sorted(connection.adbc_get_table_types())
said["vendor"] = connection.adbc_get_info().get("vendor_name")

said["ingest"] = refused(lambda: cursor.adbc_ingest("spans", pyarrow.table({"a": [1]})))
for name, sql in {
    "wrong_column": "SELECT nme FROM spans",
    "wrong_syntax": "SELEC 1",
    "write": "DELETE FROM spans",
}.items():
    said[name] = refused(lambda sql=sql: connection.cursor().execute(sql))
two = pyarrow.record_batch([[1, 2]], names=["0"])
said["two_rows"] = refused(lambda: cursor.execute("SELECT $1", two))
said["transaction"] = refused(lambda: connection.adbc_connection.set_autocommit(False))

many = "SELECT value, repeat(CAST(value AS TEXT), 200) AS x FROM generate_series(1, 1000000)"
leaving = []
for _ in range(4):
    left = connection.cursor()
    left.execute(many)
    reader = left.fetch_record_batch()
    leaving.append(reader.read_next_batch().num_rows > 0)
    reader.close()
    left.close()
    leaving.append(ends_within(1))
said["leaving"] = leaving

endless = """SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b
             WHERE a.value + b.value <> 7"""
stopped = connection.cursor()
outcome = []
thread = threading.Thread(target=lambda: outcome.append(refused(lambda: (stopped.execute(endless), stopped.fetchall()))))
thread.start()
while running() == 0:
    time.sleep(0.02)
began = time.monotonic()
stopped.adbc_cancel()
thread.join(10)
said["cancelled"] = [outcome[0][0] if outcome and outcome[0] else None, time.monotonic() - began < 1, ends_within(1)]

cursor.execute("SELECT count(*) > 0 FROM system.queries WHERE surface = 'flight' AND state = 'ok'")
said["logged"] = cursor.fetchone()[0]
print(json.dumps(said))
