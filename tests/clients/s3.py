"""An S3 server of moto's on a free port, for as long as stdin is open.

usage: s3.py BUCKET
Prints the port once the bucket is there. INITIAL_NO_AUTH_ACTION_COUNT=1 lets it refuse every later request for want of
rights.
"""

import http.client
import sys

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
connection = http.client.HTTPConnection("127.0.0.1", port)
connection.request("PUT", f"/{sys.argv[1]}")
answer = connection.getresponse()
if answer.status != 200:
    raise SystemExit(f"no bucket: {answer.status} {answer.read()}")
print(port, flush=True)
sys.stdin.read()
server.stop()
