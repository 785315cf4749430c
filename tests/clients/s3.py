"""An S3 server of moto's on a free port, for as long as stdin is open.

usage: s3.py BUCKET
Prints the port once the bucket is there. INITIAL_NO_AUTH_ACTION_COUNT=1 lets it refuse every later request for want of
rights. Requests are answered one at a time: S3 lets one of several conditional creates win, and moto's threads look and
write with a gap between.
"""

import http.client
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

app = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def one_at_a_time(environ, start_response):
    with turn:
        return app(environ, start_response)


server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]
connection = http.client.HTTPConnection("127.0.0.1", port)
connection.request("PUT", f"/{sys.argv[1]}")
answer = connection.getresponse()
if answer.status != 200:
    raise SystemExit(f"no bucket: {answer.status} {answer.read()}")
print(port, flush=True)
sys.stdin.read()
server.shutdown()
