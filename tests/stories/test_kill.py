"""A comparison that is killed and gone on with finds what an uninterrupted one finds, bit for bit."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_resume.py"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_comparison_survives_being_killed_twice(tiny_encoder_dir: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "2", "--seed", "1", "--encoder", str(tiny_encoder_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("2 kills, ")
    assert last.endswith(" 0 of them differ from the reference")
    assert done.stdout.count(": killed with ") >= 2
