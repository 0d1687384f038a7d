"""A process that starts others: each is `skdidicm ARGUMENTS` without the seconds of imports.

It reads a line of JSON for every request and answers with one. It has imported what a run needs
and started no thread, so that it can fork; the test process can do neither cheaply nor safely.
"""

import json
import os
import resource
import sys
from pathlib import Path

import skdidicm_torch.imagenet  # noqa: F401

from skdidicm.cli import app


def start(arguments, env, output, file_limit):
    """Start a command in a process group of its own; return its number."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    os.environ.update(env)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    code = 70
    try:
        app(arguments, prog_name="skdidicm")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            Path(request["output"]).touch()
            answer = start(**request)
        print(json.dumps(answer), file=answers, flush=True)


main()
