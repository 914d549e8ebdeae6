"""Runs minio-py's functional tests to their end; by themselves they stop at the first that fails.

Run by the Python of the suite's own venv: FILE [CASE ...].
"""

import importlib.util
import sys

spec = importlib.util.spec_from_file_location("functional", sys.argv[1])
functional = importlib.util.module_from_spec(spec)
spec.loader.exec_module(functional)
chosen = set(sys.argv[2:])
_stopping = functional._call_test


def _call_test(case, *args, **kwargs):
    if chosen and case.__name__ not in chosen:
        return
    try:
        _stopping(case, *args, **kwargs)
    except functional.TestFailed:
        pass  # its line is printed


functional._call_test = _call_test
functional.main()
