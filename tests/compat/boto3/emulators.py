"""The checks of the local backend on another emulator, and who is right where it answers otherwise.

usage: emulators.py NAME KINESIS_URL DYNAMODB_URL
"""

import sys

# Each import registers its checks; they run in this order.
import streams  # noqa: F401
import records  # noqa: F401
import shards  # noqa: F401
import fan_out  # noqa: F401
import edges  # noqa: F401
import leases  # noqa: F401
from backend import CHECKS, Backend, survey


def differences(backend):
    """What the checks find otherwise, as ``(check, what)``."""
    found = survey()
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            function(backend)
        # The rest of this check is not seen then; the others are.
        except Exception as error:
            found.append(f"ended by {type(error).__name__}: {error}")
        for what in found:
            yield name, what
        found.clear()


def main():
    name, kinesis, dynamodb = sys.argv[1:]
    for check, what in differences(Backend(kinesis, dynamodb)):
        print(f"{name} | {check} | {what[:300]}", flush=True)


main()
