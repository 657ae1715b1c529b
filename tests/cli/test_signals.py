"""The exit code after a signal that comes while a library runs code of its own."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, signal, sys
import afina.cli as cli

signal.signal(signal.SIGTERM, cli._note_signal)
run = ctypes.pythonapi.PyRun_String
run.restype = ctypes.py_object
run.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.py_object, ctypes.py_object]
CODE = b"import os, signal\\nos.kill(os.getpid(), signal.SIGTERM)\\nfor _ in range(1000): pass\\n"
FILE_INPUT = 257
try:
    run(CODE, FILE_INPUT, {"__builtins__": __builtins__}, {})
except KeyboardInterrupt:
    sys.exit(3)
"""


def test_a_signal_inside_a_librarys_code_does_not_change_the_exit_code(tmp_path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
