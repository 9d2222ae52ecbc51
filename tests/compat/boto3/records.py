"""Records: written, read from every position, and limited."""

import time
from datetime import UTC, datetime, timedelta

from backend import PATIENCE_SECONDS, check, patiently, refused, require, same, shard_id

TOP = 2**128 - 1


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
def limits(backend):
    """The limits of a shard; each starts in a second of its own."""
    kinesis = backend.kinesis
    backend.stream("limits")
    statuses = [
        entry.get("ErrorCode")
        for _ in range(5)
        for entry in kinesis.put_records(StreamName="limits", Records=[{"Data": b"x", "PartitionKey": "k"}] * 500)[
            "Records"
        ]
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
    refused(
        "ProvisionedThroughputExceededException",
        lambda: [kinesis.get_records(ShardIterator=iterator) for _ in range(20)],
    )
    time.sleep(1.1)
    found = [r for r in backend.drain("limits")[0] if r["Data"] == b"x"]
    same(len(found), accepted, "what was refused is not there, the rest is")

    too_many = [{"Data": b"x", "PartitionKey": "k"}] * 501
    refused("ValidationException", kinesis.put_records, StreamName="limits", Records=too_many)
    large = [{"Data": bytes(1024 * 1024), "PartitionKey": "k"}] * 11
    refused("InvalidArgumentException", kinesis.put_records, StreamName="limits", Records=large)
