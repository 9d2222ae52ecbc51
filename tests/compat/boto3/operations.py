"""Every operation of the local backend through boto3: results, error codes, paging, resharding, limits; DynamoDB.

usage: operations.py KINESIS_URL DYNAMODB_URL
"""

import sys
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

TOP = 2**128 - 1
MIDDLE = 2**127
PATIENCE_SECONDS = 30

CHECKS = []


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


def require(holds, what):
    if not holds:
        raise Failed(what)


def same(found, expected, what):
    require(found == expected, f"{what}: {found!r}, expected {expected!r}")


def refused(code, call, **arguments):
    """The call fails with this code and HTTP status 400; returns the message."""
    try:
        call(**arguments)
    except ClientError as error:
        same(error.response["Error"]["Code"], code, "error code")
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], 400, "HTTP status")
        require(error.response["ResponseMetadata"].get("RequestId"), "no request id")
        return error.response["Error"]["Message"]
    raise Failed(f"expected {code}, but it succeeded")


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


@check
def streams(backend):
    kinesis = backend.kinesis
    arn = backend.stream("streams", 3, Tags={"team": "a"})
    require(arn.startswith("arn:aws:kinesis:us-east-1:") and arn.endswith(":stream/streams"), arn)
    summary = kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
    same(summary["OpenShardCount"], 3, "open shards")
    same(summary["RetentionPeriodHours"], 24, "retention")
    same(summary["StreamModeDetails"]["StreamMode"], "PROVISIONED", "mode")
    age = datetime.now(UTC) - summary["StreamCreationTimestamp"]
    require(abs(age) < timedelta(seconds=PATIENCE_SECONDS), f"created {age} ago")
    description = kinesis.describe_stream(StreamName="streams", Limit=2)["StreamDescription"]
    same((len(description["Shards"]), description["HasMoreShards"]), (2, True), "first page of shards")
    rest = kinesis.describe_stream(StreamName="streams", ExclusiveStartShardId=description["Shards"][-1]["ShardId"])
    same([s["ShardId"] for s in rest["StreamDescription"]["Shards"]], [shard_id(2)], "second page of shards")
    ranges = [s["HashKeyRange"] for s in backend.shards("streams")]
    same((ranges[0]["StartingHashKey"], ranges[-1]["EndingHashKey"]), ("0", str(TOP)), "the whole hash range")

    refused("ResourceInUseException", kinesis.create_stream, StreamName="streams", ShardCount=1)
    refused("ValidationException", kinesis.create_stream, StreamName="no spaces", ShardCount=1)
    refused("ResourceNotFoundException", kinesis.describe_stream_summary, StreamName="none")
    refused("ResourceNotFoundException", kinesis.describe_stream, StreamName="none")
    refused("InvalidArgumentException", kinesis.describe_stream_summary)

    kinesis.delete_stream(StreamName="streams")

    def gone():
        try:
            return kinesis.describe_stream_summary(StreamName="streams")
        except kinesis.exceptions.ResourceNotFoundException:
            return None

    until("the stream is gone", gone, lambda found: found is None)
    refused("ResourceNotFoundException", kinesis.delete_stream, StreamName="streams")


@check
def list_streams_in_pages(backend):
    names = [f"paged-{n}" for n in range(5)]
    for name in names:
        backend.stream(name)
    paginator = backend.kinesis.get_paginator("list_streams")
    found = [name for page in paginator.paginate(Limit=2) for name in page["StreamNames"]]
    same([name for name in found if name.startswith("paged-")], names, "all names, once, in order")
    first = backend.kinesis.list_streams(Limit=2, ExclusiveStartStreamName="paged-")
    same([s["StreamName"] for s in first["StreamSummaries"]], names[:2], "summaries after a name")
    same(first["HasMoreStreams"], True, "more")


@check
def on_demand_and_settings(backend):
    kinesis = backend.kinesis
    arn = backend.stream("settings", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    same(backend.active("settings")["OpenShardCount"], 4, "shards of an on-demand stream")

    kinesis.increase_stream_retention_period(StreamName="settings", RetentionPeriodHours=48)
    same(backend.active("settings")["RetentionPeriodHours"], 48, "longer")
    refused(
        "InvalidArgumentException",
        kinesis.increase_stream_retention_period,
        StreamName="settings",
        RetentionPeriodHours=30,
    )
    kinesis.decrease_stream_retention_period(StreamARN=arn, RetentionPeriodHours=24)
    same(backend.active("settings")["RetentionPeriodHours"], 24, "shorter")

    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)
    same(backend.active("settings")["MaxRecordSizeInKiB"], 2048, "largest record")
    refused("ValidationException", kinesis.update_max_record_size, StreamARN=arn, MaxRecordSizeInKiB=10)

    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "PROVISIONED"})
    same(backend.active("settings")["StreamModeDetails"]["StreamMode"], "PROVISIONED", "mode")
    limits = kinesis.describe_limits()
    require(limits["OpenShardCount"] >= 4 and limits["ShardLimit"] > 0, f"limits {limits}")


@check
def automatic_distribution(backend):
    """The parameter is newer than many SDKs: what botocore knows decides how much is checked."""
    kinesis = backend.kinesis
    operations = kinesis.meta.service_model.operation_names
    if "UpdateStreamRecordDistributionStrategy" not in operations:
        print("        (this botocore does not know UpdateStreamRecordDistributionStrategy: not checked)")
        return
    arn = backend.stream("auto", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    kinesis.update_stream_record_distribution_strategy(StreamARN=arn, RecordDistributionStrategy="AUTO")
    backend.active("auto")
    puts = [kinesis.put_record(StreamName="auto", Data=b"no key") for _ in range(8)]
    require(len({put["ShardId"] for put in puts}) > 1, "spread over shards")
    records = [record for shard in range(4) for record in backend.drain("auto", shard)[0]]
    same(len(records), 8, "records")
    require(all("PartitionKey" not in record for record in records), "no key is made up")


@check
def tags(backend):
    kinesis = backend.kinesis
    arn = backend.stream("tags")
    kinesis.add_tags_to_stream(StreamName="tags", Tags={"a": "1", "b": "2", "c": "3"})
    page = kinesis.list_tags_for_stream(StreamName="tags", Limit=2)
    same(([t["Key"] for t in page["Tags"]], page["HasMoreTags"]), (["a", "b"], True), "first page")
    page = kinesis.list_tags_for_stream(StreamName="tags", ExclusiveStartTagKey="b")
    same(page["Tags"], [{"Key": "c", "Value": "3"}], "second page")
    kinesis.remove_tags_from_stream(StreamName="tags", TagKeys=["a"])
    kinesis.tag_resource(ResourceARN=arn, Tags={"d": "4"})
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["b"])
    left = kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"]
    same(left, [{"Key": "c", "Value": "3"}, {"Key": "d", "Value": "4"}], "what is left")


@check
def put_and_get(backend):
    kinesis = backend.kinesis
    arn = backend.stream("records", 2)
    every = bytes(range(256))
    first = kinesis.put_record(StreamName="records", Data=every, PartitionKey="k", ExplicitHashKey="0")
    same(first["ShardId"], shard_id(0), "shard of hash key 0")
    same(len(first["SequenceNumber"]), 56, "digits of a sequence number")
    last = kinesis.put_record(StreamARN=arn, Data=b"top", PartitionKey="k", ExplicitHashKey=str(TOP))
    same(last["ShardId"], shard_id(1), "shard of the largest hash key")
    ordered = kinesis.put_record(
        StreamName="records",
        Data=b"",
        PartitionKey="ключ",
        ExplicitHashKey="0",
        SequenceNumberForOrdering=first["SequenceNumber"],
    )
    require(int(ordered["SequenceNumber"]) > int(first["SequenceNumber"]), "sequence numbers increase")
    entries = [{"Data": f"{n}".encode(), "PartitionKey": f"{n}", "ExplicitHashKey": "7"} for n in range(500)]
    many = kinesis.put_records(StreamName="records", Records=entries)
    same(many["FailedRecordCount"], 0, "failed")

    records, page = backend.drain("records")
    same(len(records), 502, "records")
    same(records[0]["Data"], every, "every byte value")
    same((records[1]["Data"], records[1]["PartitionKey"]), (b"", "ключ"), "no data, a key beyond ASCII")
    same([r["Data"] for r in records[2:]], [e["Data"] for e in entries], "order")
    same([r["SequenceNumber"] for r in records[2:]], [r["SequenceNumber"] for r in many["Records"]], "numbers")
    same(page["MillisBehindLatest"], 0, "caught up")
    arrived = records[0]["ApproximateArrivalTimestamp"]
    require(abs(datetime.now(UTC) - arrived) < timedelta(seconds=PATIENCE_SECONDS), f"arrived {arrived}")

    refused("ResourceNotFoundException", kinesis.put_record, StreamName="none", Data=b"x", PartitionKey="k")
    refused(
        "InvalidArgumentException",
        kinesis.put_record,
        StreamName="records",
        Data=b"x",
        PartitionKey="k",
        ExplicitHashKey=str(TOP + 1),
    )
    refused("ValidationException", kinesis.put_record, StreamName="records", Data=b"x", PartitionKey="k" * 257)


@check
def iterators(backend):
    kinesis = backend.kinesis
    backend.stream("iterators")
    numbers = [
        kinesis.put_record(StreamName="iterators", Data=b"%d" % n, PartitionKey="k")["SequenceNumber"] for n in range(3)
    ]
    latest = backend.iterator("iterators", kind="LATEST")
    time.sleep(0.02)
    moment = datetime.now(UTC)
    time.sleep(0.02)
    kinesis.put_record(StreamName="iterators", Data=b"3", PartitionKey="k")

    def data(iterator, **limit):
        page = patiently(lambda: kinesis.get_records(ShardIterator=iterator, **limit))
        return [record["Data"] for record in page["Records"]], page

    same(data(backend.iterator("iterators"))[0], [b"0", b"1", b"2", b"3"], "TRIM_HORIZON")
    same(data(latest)[0], [b"3"], "LATEST")
    at = backend.iterator("iterators", kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    same(data(at)[0], [b"1", b"2", b"3"], "AT_SEQUENCE_NUMBER")
    after = backend.iterator("iterators", kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    same(data(after)[0], [b"2", b"3"], "AFTER_SEQUENCE_NUMBER")
    same(data(backend.iterator("iterators", kind="AT_TIMESTAMP", Timestamp=moment))[0], [b"3"], "AT_TIMESTAMP")
    now = datetime.now(UTC)
    time.sleep(0.02)
    same(data(backend.iterator("iterators", kind="AT_TIMESTAMP", Timestamp=now))[0], [], "AT_TIMESTAMP at the tip")
    found, page = data(backend.iterator("iterators"), Limit=2)
    same(found, [b"0", b"1"], "Limit")
    require(page["MillisBehindLatest"] > 0, "MillisBehindLatest of a reader that is behind")
    same(data(page["NextShardIterator"])[0], [b"2", b"3"], "the next page")

    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="nonsense")
    refused("InvalidArgumentException", backend.iterator, name="iterators", kind="AFTER_SEQUENCE_NUMBER")
    refused("ResourceNotFoundException", backend.iterator, name="iterators", shard=9)
    refused("ValidationException", backend.iterator, name="iterators", kind="SOMEWHERE")
    refused("InvalidArgumentException", backend.iterator, name="iterators", kind="AT_TIMESTAMP")
    future = now + timedelta(hours=1)
    refused("InvalidArgumentException", backend.iterator, name="iterators", kind="AT_TIMESTAMP", Timestamp=future)
    refused("ValidationException", kinesis.get_records, ShardIterator=latest, Limit=10_001)


@check
def resharding(backend):
    kinesis = backend.kinesis
    backend.stream("reshard", 2)
    kinesis.put_record(StreamName="reshard", Data=b"before", PartitionKey="k", ExplicitHashKey="5")
    kinesis.split_shard(StreamName="reshard", ShardToSplit=shard_id(0), NewStartingHashKey="1000")
    backend.active("reshard")
    kinesis.put_record(StreamName="reshard", Data=b"after", PartitionKey="k", ExplicitHashKey="5")
    shards = {shard["ShardId"]: shard for shard in backend.shards("reshard")}
    parent, left, right = shards[shard_id(0)], shards[shard_id(2)], shards[shard_id(3)]
    require("EndingSequenceNumber" in parent["SequenceNumberRange"], "the parent is closed")
    same((left["ParentShardId"], right["ParentShardId"]), (shard_id(0), shard_id(0)), "parents")
    same(left["HashKeyRange"], {"StartingHashKey": "0", "EndingHashKey": "999"}, "the left half")
    records, end = backend.drain("reshard")
    same([record["Data"] for record in records], [b"before"], "the parent is still readable, and gets nothing more")
    require("NextShardIterator" not in end, "the end of the parent")
    same([child["ShardId"] for child in end["ChildShards"]], [shard_id(2), shard_id(3)], "children at the end")
    same([r["Data"] for r in backend.drain("reshard", 2)[0]], [b"after"], "the child")

    kinesis.merge_shards(StreamName="reshard", ShardToMerge=shard_id(3), AdjacentShardToMerge=shard_id(1))
    backend.active("reshard")
    merged = backend.shards("reshard")[-1]
    same((merged["ParentShardId"], merged["AdjacentParentShardId"]), (shard_id(3), shard_id(1)), "two parents")
    same(backend.drain("reshard", 3)[1]["ChildShards"][0]["ParentShards"], [shard_id(3), shard_id(1)], "of the child")

    refused("InvalidArgumentException", kinesis.merge_shards, StreamName="reshard", ShardToMerge=shard_id(2), AdjacentShardToMerge=shard_id(2))
    refused("ResourceNotFoundException", kinesis.split_shard, StreamName="reshard", ShardToSplit=shard_id(99), NewStartingHashKey="1")
    refused("InvalidArgumentException", kinesis.split_shard, StreamName="reshard", ShardToSplit=shard_id(2), NewStartingHashKey="0")

    reply = kinesis.update_shard_count(StreamName="reshard", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    same((reply["CurrentShardCount"], reply["TargetShardCount"]), (2, 4), "counts")
    backend.active("reshard")
    still = [s for s in backend.shards("reshard") if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
    same(len(still), 4, "open shards")
    require(all("ParentShardId" in shard for shard in still), "children have parents")
    refused("InvalidArgumentException", kinesis.update_shard_count, StreamName="reshard", TargetShardCount=9, ScalingType="UNIFORM_SCALING")


@check
def list_shards(backend):
    kinesis = backend.kinesis
    backend.stream("shards", 3)
    kinesis.split_shard(StreamName="shards", ShardToSplit=shard_id(0), NewStartingHashKey="1000")
    backend.active("shards")

    def ids(**shard_filter):
        return [s["ShardId"] for s in backend.shards("shards", ShardFilter=shard_filter)]

    first, still, everything = [shard_id(n) for n in range(3)], [shard_id(n) for n in range(1, 5)], [shard_id(n) for n in range(5)]
    same(ids(Type="AT_LATEST"), still, "AT_LATEST")
    same(ids(Type="AT_TRIM_HORIZON"), first, "AT_TRIM_HORIZON")
    same(ids(Type="FROM_TRIM_HORIZON"), everything, "FROM_TRIM_HORIZON")
    same(ids(Type="AFTER_SHARD_ID", ShardId=shard_id(2)), [shard_id(3), shard_id(4)], "AFTER_SHARD_ID")
    now = datetime.now(UTC)
    same(ids(Type="AT_TIMESTAMP", Timestamp=now), still, "AT_TIMESTAMP")
    same(ids(Type="FROM_TIMESTAMP", Timestamp=now), still, "FROM_TIMESTAMP")

    pages, token = [], None
    while not pages or token:
        where = {"NextToken": token} if token else {"StreamName": "shards"}
        page = kinesis.list_shards(MaxResults=2, **where)
        pages.append([s["ShardId"] for s in page["Shards"]])
        token = page.get("NextToken")
    same(pages, [everything[:2], everything[2:4], everything[4:]], "pages")
    same([s["ShardId"] for s in kinesis.list_shards(StreamName="shards", ExclusiveStartShardId=shard_id(3))["Shards"]], everything[4:], "after a shard")
    refused("InvalidArgumentException", kinesis.list_shards, StreamName="shards", NextToken="x")
    refused("ResourceNotFoundException", kinesis.list_shards, StreamName="none")


@check
def limits(backend):
    """The limits of a shard; each starts in a second of its own."""
    kinesis = backend.kinesis
    backend.stream("limits")
    statuses = [
        entry.get("ErrorCode")
        for _ in range(5)
        for entry in kinesis.put_records(
            StreamName="limits", Records=[{"Data": b"x", "PartitionKey": "k"}] * 500
        )["Records"]
    ]
    require("ProvisionedThroughputExceededException" in statuses, "over 1,000 records a second")
    require(statuses.count(None) >= 1000, "1,000 records a second")
    accepted = len([status for status in statuses if status is None])
    time.sleep(1.1)
    refused(
        "ProvisionedThroughputExceededException",
        lambda: [kinesis.put_record(StreamName="limits", Data=b"x" * 400_000, PartitionKey="k") for _ in range(20)],
    )
    iterator = backend.iterator("limits")
    refused("ProvisionedThroughputExceededException", lambda: [kinesis.get_records(ShardIterator=iterator) for _ in range(20)])
    time.sleep(1.1)
    found = [r for r in backend.drain("limits")[0] if r["Data"] == b"x"]
    same(len(found), accepted, "what was refused is not there, the rest is")

    too_many = [{"Data": b"x", "PartitionKey": "k"}] * 501
    refused("ValidationException", kinesis.put_records, StreamName="limits", Records=too_many)
    large = [{"Data": bytes(1024 * 1024), "PartitionKey": "k"}] * 11
    refused("InvalidArgumentException", kinesis.put_records, StreamName="limits", Records=large)


@check
def consumers(backend):
    kinesis = backend.kinesis
    arn = backend.stream("fanout")
    made = [kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"c{n}")["Consumer"] for n in range(3)]
    require(made[0]["ConsumerStatus"] in ("CREATING", "ACTIVE"), f"status at first: {made[0]}")
    refused("ResourceInUseException", kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="c0")

    def description():
        return kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName="c0")["ConsumerDescription"]

    until("the consumer is ACTIVE", description, lambda found: found["ConsumerStatus"] == "ACTIVE")
    same(kinesis.describe_stream_consumer(ConsumerARN=made[0]["ConsumerARN"])["ConsumerDescription"]["ConsumerName"], "c0", "by ARN")
    paginator = kinesis.get_paginator("list_stream_consumers")
    pages = paginator.paginate(StreamARN=arn, PaginationConfig={"PageSize": 2})
    same([c["ConsumerName"] for page in pages for c in page["Consumers"]], ["c0", "c1", "c2"], "in pages")
    refused("ResourceInUseException", kinesis.delete_stream, StreamName="fanout")
    kinesis.deregister_stream_consumer(StreamARN=arn, ConsumerName="c2")
    until("c2 is gone", lambda: kinesis.list_stream_consumers(StreamARN=arn)["Consumers"], lambda found: len(found) == 2)
    refused("ResourceNotFoundException", kinesis.describe_stream_consumer, StreamARN=arn, ConsumerName="c9")
    kinesis.delete_stream(StreamName="fanout", EnforceConsumerDeletion=True)


@check
def subscribe_to_shard(backend):
    kinesis = backend.kinesis
    arn = backend.stream("subscribed")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    until(
        "the consumer is ACTIVE",
        lambda: kinesis.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"],
        lambda found: found["ConsumerStatus"] == "ACTIVE",
    )
    puts = [kinesis.put_record(StreamName="subscribed", Data=b"%d" % n, PartitionKey="k") for n in range(20)]
    start = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": puts[4]["SequenceNumber"]}
    subscription = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard_id(0), StartingPosition=start)
    refused(
        "ResourceInUseException",
        kinesis.subscribe_to_shard,
        ConsumerARN=consumer,
        ShardId=shard_id(0),
        StartingPosition={"Type": "LATEST"},
    )

    def later():
        time.sleep(0.5)
        kinesis.put_record(StreamName="subscribed", Data=b"live", PartitionKey="k")
        time.sleep(0.5)
        kinesis.split_shard(StreamName="subscribed", ShardToSplit=shard_id(0), NewStartingHashKey=str(MIDDLE))

    thread = threading.Thread(target=later)
    thread.start()
    events = [event["SubscribeToShardEvent"] for event in subscription["EventStream"]]
    thread.join()
    data = [record["Data"] for event in events for record in event["Records"]]
    same(data, [b"%d" % n for n in range(5, 20)] + [b"live"], "old records, then the live one")
    require(all("ContinuationSequenceNumber" in event for event in events[:-1]), "continuations while it is open")
    require("ContinuationSequenceNumber" not in events[-1], "no continuation at the end")
    same([c["ShardId"] for c in events[-1]["ChildShards"]], [shard_id(1), shard_id(2)], "children at the end")
    refused(
        "ResourceNotFoundException",
        kinesis.subscribe_to_shard,
        ConsumerARN=consumer,
        ShardId=shard_id(77),
        StartingPosition={"Type": "LATEST"},
    )


@check
def dynamodb_as_lease_protocols_use_it(backend):
    dynamodb = backend.dynamodb
    dynamodb.create_table(
        TableName="leases",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("leaseKey", "leaseOwner")],
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {
                "IndexName": "byOwner",
                "KeySchema": [
                    {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                    {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    dynamodb.get_waiter("table_exists").wait(TableName="leases", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    row = {"leaseKey": {"S": "shard-0"}, "leaseCounter": {"N": "0"}, "parentShardId": {"SS": ["a", "b"]}}
    once = {"TableName": "leases", "Item": row, "ConditionExpression": "attribute_not_exists(leaseKey)"}
    dynamodb.put_item(**once)
    refused("ConditionalCheckFailedException", dynamodb.put_item, **once)

    take = {
        "TableName": "leases",
        "Key": {"leaseKey": {"S": "shard-0"}},
        "UpdateExpression": "SET leaseCounter = :new, leaseOwner = :me ADD switches :one",
        "ConditionExpression": "leaseCounter = :seen",
        "ExpressionAttributeValues": {":new": {"N": "1"}, ":seen": {"N": "0"}, ":me": {"S": "w"}, ":one": {"N": "1"}},
    }
    dynamodb.update_item(**take)
    try:
        dynamodb.update_item(**take, ReturnValuesOnConditionCheckFailure="ALL_OLD")
        raise Failed("two took one lease")
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        same(error.response["Item"]["leaseCounter"], {"N": "1"}, "the row that won")
    legacy = {"leaseCounter": {"ComparisonOperator": "EQ", "AttributeValueList": [{"N": "1"}]}}
    dynamodb.update_item(
        TableName="leases",
        Key={"leaseKey": {"S": "shard-0"}},
        Expected=legacy,
        AttributeUpdates={"leaseCounter": {"Action": "PUT", "Value": {"N": "2"}}},
    )
    got = dynamodb.get_item(TableName="leases", Key={"leaseKey": {"S": "shard-0"}}, ConsistentRead=True)["Item"]
    same((got["leaseCounter"], got["switches"], sorted(got["parentShardId"]["SS"])), ({"N": "2"}, {"N": "1"}, ["a", "b"]), "the row")
    found = dynamodb.query(
        TableName="leases",
        IndexName="byOwner",
        KeyConditionExpression="leaseOwner = :me",
        ExpressionAttributeValues={":me": {"S": "w"}},
    )
    same([item["leaseKey"]["S"] for item in found["Items"]], ["shard-0"], "by owner")
    for number in range(1, 30):
        dynamodb.put_item(TableName="leases", Item={"leaseKey": {"S": f"shard-{number}"}})
    pages = dynamodb.get_paginator("scan").paginate(TableName="leases", PaginationConfig={"PageSize": 7})
    same(len([item for page in pages for item in page["Items"]]), 30, "scanned in pages")
    dynamodb.delete_item(TableName="leases", Key={"leaseKey": {"S": "shard-0"}})
    dynamodb.delete_table(TableName="leases")
    refused("ResourceNotFoundException", dynamodb.describe_table, TableName="leases")


@check
def operations_that_are_not_there(backend):
    """Runs last: what no check has called must say so by name."""
    model = backend.kinesis.meta.service_model
    missing = sorted(set(model.operation_names) - backend.called)
    for name in missing:
        message = refused("UnknownOperationException", lambda: raw(backend.kinesis, name))  # noqa: B023
        require(name in message, f"the message does not name {name}: {message}")
    print(f"        called: {len(backend.called)} operations; not there: {', '.join(missing) or 'none'}")


def raw(kinesis, operation):
    """A call with nothing in it, past botocore's own checks."""
    model = kinesis.meta.service_model.operation_model(operation)
    target = f"{model.metadata['targetPrefix']}.{operation}" if "targetPrefix" in model.metadata else None
    target = target or f"Kinesis_20131202.{operation}"
    import json
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        kinesis.meta.endpoint_url,
        data=b"{}",
        headers={"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"},
    )
    try:
        urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        body = json.loads(error.read())
        raise ClientError(
            {
                "Error": {"Code": body["__type"].split("#")[-1], "Message": body.get("message", "")},
                "ResponseMetadata": {
                    "HTTPStatusCode": error.code,
                    "RequestId": error.headers.get("x-amzn-requestid"),
                },
            },
            operation,
        ) from None


def main():
    backend = Backend(*sys.argv[1:3])
    failed = 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            function(backend)
            print(f"  ok    {name}", flush=True)
        except Exception as error:  # noqa: BLE001  one broken check must not hide the others
            failed += 1
            print(f"  FAIL  {name}: {error}", flush=True)
            traceback.print_exc()
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


sys.exit(main())
