"""The backend under judgement and what the checks are written with."""

import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

PATIENCE_SECONDS = 30

CHECKS = []
# Where what is found otherwise than expected is noted instead of ending its check; see emulators.py.
DIFFERENCES = None


class Failed(Exception):
    """A check that found something else than it expected."""


class Backend:
    """Clients without retries, so that a throttle is seen, and what was called through them."""

    def __init__(self, kinesis, dynamodb):
        self.called = set()
        self.kinesis = client("kinesis", kinesis)
        self.dynamodb = client("dynamodb", dynamodb)
        self.kinesis.meta.events.register("before-call.kinesis", self._record)

    def _record(self, model, **_):
        self.called.add(model.name)

    def stream(self, name, shards=1, **settings):
        """Creates a stream and waits for it; returns its ARN."""
        if "StreamModeDetails" not in settings:
            settings["ShardCount"] = shards
        self.kinesis.create_stream(StreamName=name, **settings)
        return self.active(name)["StreamARN"]

    def active(self, name):
        def summary():
            return self.kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]

        return until(f"{name} is ACTIVE", summary, lambda found: found["StreamStatus"] == "ACTIVE")

    def shards(self, name, **filters):
        return self.kinesis.list_shards(StreamName=name, **filters)["Shards"]

    def iterator(self, name, shard=0, kind="TRIM_HORIZON", **position):
        return self.kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard_id(shard), ShardIteratorType=kind, **position
        )["ShardIterator"]

    def drain(self, name, shard=0):
        """All records of a shard, and the last page: of a closed shard its end, else an empty one."""
        iterator, records = self.iterator(name, shard), []
        while True:
            page = patiently(lambda: self.kinesis.get_records(ShardIterator=iterator))  # noqa: B023
            records += page["Records"]
            iterator = page.get("NextShardIterator")
            if iterator is None or not page["Records"]:
                return records, page


def client(service, endpoint):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        # What is wrong is to be found by the backend, not by botocore.
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20, parameter_validation=False),
    )


def check(function):
    CHECKS.append(function)
    return function


def survey():
    """From here on a difference ends nothing; returns the list that they are added to."""
    global DIFFERENCES
    DIFFERENCES = []
    return DIFFERENCES


def require(holds, what):
    if holds:
        return
    if DIFFERENCES is None:
        raise Failed(what)
    DIFFERENCES.append(what)


def same(found, expected, what):
    require(found == expected, f"{what}: {found!r}, expected {expected!r}")


def refused(code, call, **arguments):
    """The call fails with this code and HTTP status 400; returns the message."""
    try:
        call(**arguments)
    except ClientError as error:
        same(error.response["Error"]["Code"], code, f"error code of {call.__name__}")
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], 400, "HTTP status")
        require(error.response["ResponseMetadata"].get("RequestId"), "no request id")
        return error.response["Error"]["Message"]
    return require(False, f"{call.__name__}: expected {code}, but it succeeded")


def outcome(call, **arguments):
    """The code of an error, else ``ok``."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "ok"


def patiently(call):
    """Repeats a call that is throttled."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except ClientError as error:
            if error.response["Error"]["Code"] != "ProvisionedThroughputExceededException":
                raise
            require(time.monotonic() < deadline, "throttled all the time")
            time.sleep(0.1)


def until(what, call, holds):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(found := call()):
        require(time.monotonic() < deadline, f"not in time: {what}; last: {found}")
        time.sleep(0.05)
    return found


def shard_id(number):
    return f"shardId-{number:012}"
