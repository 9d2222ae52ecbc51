"""The checks of the local backend on other emulators, and who is right where one answers otherwise: every difference
must be judged here, by what the API reference of Kinesis says.

usage: emulators.py NAME KINESIS_URL DYNAMODB_URL
"""

import re
import sys

# Each import registers its checks; they run in this order.
import streams  # noqa: F401
import records  # noqa: F401
import shards  # noqa: F401
import fan_out  # noqa: F401
import edges  # noqa: F401
import leases  # noqa: F401
from backend import CHECKS, Backend, survey

# None of them has limits, and what is put to find them stalls some.
LEFT_OUT = {"limits"}

OURS = "ours is right"
OPEN = "not documented"
FOLLOWS = "follows from the one before"
# By a pattern of `check: difference`; the first that fits judges.
JUDGED = [
    (r"expected '?ValidationException", OURS, "breaks a constraint of the parameter: ValidationException"),
    (r"get_records: 'ExpiredIterator", OURS, "an iterator that never was one has not expired"),
    (r"expected '?InvalidArgumentException", OURS, "InvalidArgumentException is named for it, or for its kind"),
    (r"iterators: (HTTP status: 500|no request id)", OURS, "an internal error"),
    (r"expected '?(ResourceInUse|LimitExceeded|ResourceNotFound)Exception", OURS, "the exception is named for it"),
    (r"list streams in pages", OURS, "pages of names and summaries, to the last"),
    (r"ended by .*(UpdateStreamRecord|UpdateMaxRecordSize|TagResource)", OURS, "the operation is not there"),
    (r"an on-demand stream: 1", OURS, "an on-demand stream begins with four shards"),
    (r"digits of a sequence number", OPEN, "a pattern of up to 129 digits; those of AWS have 56"),
    (r"resharding: of the child", OPEN, "the order of a merged shard's parents"),
    (r"resharding: (ended by ResourceInUse|counts: .3, 4.)", FOLLOWS, "it began a split that splits nothing off"),
    (r"resharding: ended by KeyError", OURS, "closed shards are listed and read until their records expire"),
    (r"list shards: (AT|FROM)_(TRIM_HORIZON|TIMESTAMP):", OURS, "open then, or open since then"),
    (r"list shards: AFTER_SHARD_ID", OURS, "only what comes after the shard"),
    (r"list shards: ended by .*Stream None", OURS, "a NextToken needs no name of a stream"),
    (r"consumers: in pages", OURS, "pages to the last"),
    (r"consumers: ended by ResourceNotFound", FOLLOWS, "it deleted the stream in spite of its consumers"),
    (r"not of type initial-response", OURS, "an event stream begins with initial-response, which botocore insists on"),
    (r"no continuation at the end", OPEN, "the KCL takes an event without a continuation for the shard's end"),
]


def differences(backend):
    """What the checks find otherwise, as `check: difference`."""
    found = survey()
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        if name in LEFT_OUT:
            continue
        try:
            function(backend)
        # The rest of this check is not seen then; the others are.
        except Exception as error:
            found.append(f"ended by {type(error).__name__}: {error}")
        for what in found:
            yield f"{name}: {what}"
        found.clear()


def alone(request, **_):
    """A connection for each call: some close one that is idle while the next call is on its way."""
    request.headers["Connection"] = "close"


def main():
    name, kinesis, dynamodb = sys.argv[1:]
    backend = Backend(kinesis, dynamodb)
    for service in (backend.kinesis, backend.dynamodb):
        service.meta.events.register("before-send", alone)
    unjudged, judged = [], {OURS: 0, OPEN: 0, FOLLOWS: 0}
    for difference in differences(backend):
        verdict, why = next(((v, why) for p, v, why in JUDGED if re.search(p, difference)), (None, ""))
        print(f"      {verdict or 'NOT JUDGED'}: {why} | {difference[:140]}", flush=True)
        if verdict is None:
            unjudged.append(difference)
        else:
            judged[verdict] += 1
    counts = ", ".join(f"{verdict}: {count}" for verdict, count in judged.items())
    print(f"  {'FAIL' if unjudged else 'ok'}    {name} ({counts}, not judged: {len(unjudged)})")
    return 1 if unjudged else 0


sys.exit(main())
