"""Types at the shell of `weavergen sql` in a terminal and prints what came of it as JSON.

Arguments: the command. Each step of standard input is a JSON list [text, what to wait for, seconds].
"""

import json
import os
import pty
import re
import select
import sys
import time

steps = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:])

seen = ""


def read_until(want, seconds):
    global seen
    end = time.monotonic() + seconds
    got = ""
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                got += os.read(terminal, 65536).decode("utf-8", "replace")
            except OSError:
                break
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", got)
        if want is not None and want in plain:
            break
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", got)


answers = []
for text, want, seconds in steps:
    os.write(terminal, text.encode())
    began = time.monotonic()
    answers.append({"said": read_until(want, seconds), "seconds": time.monotonic() - began})
end = time.monotonic() + 20
code = None
while time.monotonic() < end and code is None:
    try:
        os.read(terminal, 65536)
    except OSError:
        pass
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
    else:
        time.sleep(0.05)
if code is None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print(json.dumps({"answers": answers, "code": code}))
