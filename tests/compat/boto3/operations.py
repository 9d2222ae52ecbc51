"""Every operation of the local backend through boto3: results, error codes, paging, resharding, limits; DynamoDB.

usage: operations.py KINESIS_URL DYNAMODB_URL
"""

import json
import sys
import traceback
import urllib.error
import urllib.request

# Each import registers its checks; they run in this order.
import streams  # noqa: F401
import records  # noqa: F401
import shards  # noqa: F401
import fan_out  # noqa: F401
import edges  # noqa: F401
import leases  # noqa: F401
from backend import CHECKS, Backend, check, require, same


@check
def operations_that_are_not_there(backend):
    """Runs last: what no check has called must say so by name."""
    model = backend.kinesis.meta.service_model
    missing = sorted(set(model.operation_names) - backend.called)
    for name in missing:
        status, body = call_past_botocore(backend.kinesis.meta.endpoint_url, name)
        same((status, body["__type"]), (400, "UnknownOperationException"), f"{name} is refused")
        require(name in body["message"], f"the message does not name {name}: {body}")
    print(f"        called: {len(backend.called)} operations; not there: {', '.join(missing) or 'none'}")


def call_past_botocore(endpoint, operation):
    """A call with nothing in it; returns its status and what it was told."""
    request = urllib.request.Request(
        endpoint,
        data=b"{}",
        headers={"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-json-1.1"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def main():
    backend = Backend(*sys.argv[1:3])
    failed = 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            function(backend)
            print(f"  ok    {name}", flush=True)
        # One broken check must not hide the others.
        except Exception as error:
            failed += 1
            print(f"  FAIL  {name}: {error}", flush=True)
            traceback.print_exc()
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


sys.exit(main())
