"""A process that loads saved models all through a test run: as strange to the trainer as a fresh one, started once."""

import json
import os
import subprocess
import sys
from pathlib import Path


class Reloader:
    """Answers what ``unfreeze.export.handing_over.in_a_fresh_process`` asks; started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, *arguments: str) -> str:
        """Load and answer; what the process complains of, or nothing."""
        if self._process is None:
            command, pipe = [sys.executable, str(Path(__file__))], subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(Path.cwd()), *arguments]) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def serve() -> None:
    """Answer a line of arguments with a line of complaint, until there is no more."""
    from unfreeze.export.reloading import main

    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        complaint = ""
        try:
            folder, *arguments = json.loads(line)
            os.chdir(folder)  # paths may be relative to where the asking test is
            main(arguments)
        except Exception as error:
            complaint = f"{type(error).__name__}: {error}"
        print(json.dumps(complaint), file=answers, flush=True)


if __name__ == "__main__":
    serve()
