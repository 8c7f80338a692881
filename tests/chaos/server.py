"""Runs commands of Kindred in forks of one process that has imported everything, and ends them at a chosen step.

A step is a moment after which the disk may look different: a file is opened for writing, renamed or deleted, a folder
is made or deleted, a transaction of the store ends, or a command reports its progress.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.move", "shutil.copyfile"}

MODULES = (
    *("mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    *("ibis.backends.duckdb", "matplotlib.backends.backend_agg", "pipeline.arguments.actions"),
    *("pipeline.commands.train", "pipeline.commands.score"),
)
"""What commands import, also late."""


def count_steps(at_step: Callable[[], None]) -> None:
    """Call ``at_step`` at each step of this process from now on."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from pipeline.report.terminal import TerminalProgress

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        is_writing = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if name in CHANGES or is_writing:
            at_step()

    def report(self: TerminalProgress, text: str, _report: Any = TerminalProgress.__call__) -> None:
        at_step()
        _report(self, text)

    event.listen(Engine, "commit", lambda _: at_step())
    setattr(TerminalProgress, "__call__", report)  # noqa: B010
    sys.addaudithook(audit)


def run(request: dict[str, Any]) -> None:
    """Run one command in this process, and end it at the wanted step, if any."""
    steps = 0

    def at_step() -> None:
        nonlocal steps
        steps += 1
        if steps == request["step"]:
            os.kill(os.getpid(), request["signal"])

    os.chdir(request["folder"])
    os.environ["TMPDIR"] = tempfile.tempdir = request["temporary"]
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(f"{request['log']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
        os.close(handle)
    from pipeline import cli

    count_steps(at_step)
    code = cli.main(request["arguments"])
    found, request["step"] = steps, None
    with open(f"{request['log']}.steps", "w", encoding="utf-8") as file:
        file.write(str(found))
    gc.collect()  # deletes the folders of models, which otherwise the end of the process does
    sys.stdout.flush()
    os._exit(code)  # a fork cannot end otherwise: it waits for threads that only its parent has


def wait(process: int, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for a fork, and end it after some seconds if that is wanted."""
    started = time.monotonic()
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        seconds = time.monotonic() - started
        if ended:
            return {"code": os.waitstatus_to_exitcode(status), "seconds": seconds}
        if request["after_seconds"] is not None and seconds > request["after_seconds"]:
            os.kill(process, request["signal"])
            request["after_seconds"] = None
        if seconds > request["limit_seconds"]:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return {"code": None, "seconds": seconds}
        time.sleep(0.01)


def main() -> None:
    """Read requests from standard input, one JSON per line: run them all at once, and answer with a list."""
    for module in MODULES:
        import_module(module)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        requests = json.loads(line)
        processes = []
        for request in requests:
            process = os.fork()
            if not process:
                answers.close()
                run(request)
            processes.append(process)
        found = [wait(process, request) for process, request in zip(processes, requests, strict=True)]
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
