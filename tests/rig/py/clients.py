"""Python's S3 libraries behind the verbs of tests/rig/clients/lines.py, each run by the Python of its own venv: LIBRARY."""

import importlib
import json
import sys

from verbs import Cannot


def main() -> None:
    """One reply a line for each request a line."""
    replies, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no reply
    target = json.loads(sys.stdin.readline())
    library = importlib.import_module(f"with_{sys.argv[1]}").Library(target)
    for line in sys.stdin:
        words = json.loads(line)
        verb = words.pop("verb")
        try:
            reply = {"value": getattr(library, verb)(**words)}
        except Cannot as cause:
            reply = {"cannot": str(cause)}
        except BaseException as cause:  # noqa: BLE001 each library has its own classes
            reply = {"error": f"{type(cause).__name__}: {cause}"[:300]}
        print(json.dumps(reply), file=replies, flush=True)


main()
