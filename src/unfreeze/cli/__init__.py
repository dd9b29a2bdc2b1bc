"""The command line: parse, call one public function, print."""

from unfreeze.cli.main import main

__all__ = ["main"]
