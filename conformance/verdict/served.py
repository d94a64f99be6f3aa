"""One process that does tasks of a job, beside the one that asks for them: what is plugged in runs in it, nothing else.

    a worker of a cluster ──(job, then task after task)──> python -m conformance.verdict.served ──fork──> what does them
                          <──(whether it began, answers)──

It is begun in the folder and with the module search path of whoever gave the job, and ends when nobody asks any more.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from conformance.adapters.ended import by
from conformance.verdict.ingredients import machinery_code
from conformance.verdict.pool import Processes


class Job(Protocol):
    """Plain data, so that it can be sent. What it needs is found where it begins."""

    def begin(self) -> tuple[Callable[[Any], Any], str]:
        """What does a task, and a hash of the implementation as it was found. Raises what the user is to be told."""
        ...


class Begin:
    """A job, where it was given, and a hash of what has to be the same where it is done."""

    def __init__(self, job: Job, plugged: str, name: str) -> None:
        self.job, self.same, self.name = job, f"{machinery_code()} {plugged}", name
        self.folder, self.path = os.getcwd(), tuple(sys.path)


class Refused(Exception):
    """The job cannot be done here. The message says why."""


class EndedError(Exception):
    """The process ended, and nothing that it was asked ended it. The message says how."""


class Served:
    """The process, and who asks it. Raises Refused."""

    def __init__(self, begin: Begin) -> None:
        self.name = begin.name
        if not Path(begin.folder).is_dir():
            raise Refused(
                f"there is no folder {begin.folder}, in which intack runs and what is plugged in is looked for"
            )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "conformance.verdict.served"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=begin.folder,
            start_new_session=True,
        )
        if refused := self.ask(begin):
            self.end()
            raise Refused(refused)

    def ask(self, message: object) -> Any:
        """Its answer. Raises EndedError."""
        assert self.process.stdin and self.process.stdout
        try:
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()
            while not select.select([self.process.stdout], [], [], 1.0)[0]:
                if self.process.poll() is not None:  # what it has begun may hold the pipe open for longer
                    raise EOFError
            return pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.end()
            raise EndedError(by(self.process.wait())) from None

    def end(self) -> None:
        """Its child ends with it."""
        with contextlib.suppress(OSError):
            self.process.kill()


def serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an implementation prints is no answer

    def say(answer: object) -> None:
        pickle.dump(answer, answers)
        answers.flush()

    begin: Begin = pickle.load(sys.stdin.buffer)
    sys.path += [place for place in begin.path if place not in sys.path]
    try:
        do, plugged = begin.job.begin()
    except Exception as error:
        return say(f"{error}")
    if f"{machinery_code()} {plugged}" != begin.same:
        return say("the code of intack, or what is plugged in, is another than where the command runs")
    say(None)
    process = Processes[Any, Any](do, 1)
    with contextlib.suppress(EOFError):
        while True:
            process.put(pickle.load(sys.stdin.buffer))
            while not (done := process.take(1.0)):
                if select.select([sys.stdin], [], [], 0)[0]:  # nothing is sent meanwhile: nobody is there any more
                    return process.close()
            ((_, answer),) = done
            say(answer)
    return process.close()


if __name__ == "__main__":
    serve()
