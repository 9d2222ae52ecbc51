"""Arguments at and over the edge, and what AWS documents for them: the constraints of the API reference break as
ValidationException, what is well formed and means nothing as InvalidArgumentException.
"""

from datetime import UTC, datetime, timedelta

from backend import check, outcome, same, shard_id

TOP = 2**128 - 1
VALIDATION, INVALID = "ValidationException", "InvalidArgumentException"
NOT_FOUND, LIMIT = "ResourceNotFoundException", "LimitExceededException"


def compare(cases, settle=None):
    """Each case: what it is, what is documented, the call and its arguments. ``settle`` waits for what began although
    it should have been refused.
    """
    for what, documented, call, arguments in cases:
        found = outcome(call, **arguments)
        same(found, documented, what)
        if found == "ok" and settle:
            settle()


@check
def edges_of_streams(backend):
    kinesis = backend.kinesis
    backend.stream("edges", 2)
    create, on = kinesis.create_stream, {"StreamName": "edges"}
    provisioned, on_demand = ({"StreamModeDetails": {"StreamMode": mode}} for mode in ("PROVISIONED", "ON_DEMAND"))
    describe, listing = kinesis.describe_stream, kinesis.list_shards

    def filtered(**shard_filter):
        return {**on, "ShardFilter": shard_filter}

    compare(
        [
            ("no shards", VALIDATION, create, {"StreamName": "edge-a", "ShardCount": 0}),
            ("provisioned, no count", INVALID, create, {"StreamName": "edge-b", **provisioned}),
            ("on demand, a count", INVALID, create, {"StreamName": "edge-c", "ShardCount": 2, **on_demand}),
            ("a name of 129", VALIDATION, create, {"StreamName": "n" * 129, "ShardCount": 1}),
            ("no name", VALIDATION, create, {"StreamName": "", "ShardCount": 1}),
            ("too many shards", LIMIT, create, {"StreamName": "edge-d", "ShardCount": 100_001}),
            ("describe 0", VALIDATION, describe, {**on, "Limit": 0}),
            ("describe 10,001", VALIDATION, describe, {**on, "Limit": 10_001}),
            ("list 0", VALIDATION, listing, {**on, "MaxResults": 0}),
            ("list 10,001", VALIDATION, listing, {**on, "MaxResults": 10_001}),
            ("after no shard", INVALID, listing, filtered(Type="AFTER_SHARD_ID")),
            ("at no time", INVALID, listing, filtered(Type="AT_TIMESTAMP")),
            ("no such filter", VALIDATION, listing, filtered(Type="X")),
            ("of no stream", INVALID, listing, {}),
            ("no token", INVALID, listing, {"NextToken": "x"}),
            ("streams 0", VALIDATION, kinesis.list_streams, {"Limit": 0}),
            ("no ARN", VALIDATION, kinesis.describe_stream_summary, {"StreamARN": "arn:x"}),
            ("23 hours", INVALID, kinesis.decrease_stream_retention_period, {**on, "RetentionPeriodHours": 23}),
            ("8,761 hours", INVALID, kinesis.increase_stream_retention_period, {**on, "RetentionPeriodHours": 8761}),
            ("not fewer hours", INVALID, kinesis.decrease_stream_retention_period, {**on, "RetentionPeriodHours": 48}),
            ("a tag's character", INVALID, kinesis.add_tags_to_stream, {**on, "Tags": {"a!": "v"}}),
            ("no such tag", "ok", kinesis.remove_tags_from_stream, {**on, "TagKeys": ["none"]}),
            ("no such stream", NOT_FOUND, kinesis.delete_stream, {"StreamName": "none"}),
        ]
    )


@check
def edges_of_records(backend):
    kinesis = backend.kinesis
    backend.stream("edge-records", 2)
    put, puts, on = kinesis.put_record, kinesis.put_records, {"StreamName": "edge-records"}
    sequence = put(**on, Data=b"0", PartitionKey="k", ExplicitHashKey="0")["SequenceNumber"]
    elsewhere = put(**on, Data=b"1", PartitionKey="k", ExplicitHashKey=str(TOP))["SequenceNumber"]
    record = {"Data": b"x", "PartitionKey": "k"}
    mib = {"Data": b"x" * 2**20, "PartitionKey": "k"}
    iterator = backend.iterator("edge-records")
    read, ahead = kinesis.get_shard_iterator, datetime.now(UTC) + timedelta(hours=1)

    def hashed(key):
        return {**on, **record, "ExplicitHashKey": key}

    def at(number):
        at_number = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": number}
        return {**on, "ShardId": shard_id(0), **at_number}

    compare(
        [
            ("no key", VALIDATION, put, {**on, "Data": b"x"}),
            ("an empty key", VALIDATION, put, {**on, "Data": b"x", "PartitionKey": ""}),
            ("hash key abc", VALIDATION, put, hashed("abc")),
            ("hash key -1", VALIDATION, put, hashed("-1")),
            ("hash key 01", VALIDATION, put, hashed("01")),
            ("hash key 2^128", INVALID, put, hashed(str(2**128))),
            ("1 MiB and a key", VALIDATION, put, {**on, **mib}),
            ("after abc", VALIDATION, put, {**on, **record, "SequenceNumberForOrdering": "abc"}),
            ("no records", VALIDATION, puts, {**on, "Records": []}),
            ("one without a key", VALIDATION, puts, {**on, "Records": [record, {"Data": b"x", "PartitionKey": ""}]}),
            ("one strange hash key", INVALID, puts, {**on, "Records": [{**record, "ExplicitHashKey": str(2**128)}]}),
            ("at a record", "ok", read, at(sequence)),
            ("at abc", VALIDATION, read, at("abc")),
            ("at a number of another shard", INVALID, read, at(elsewhere)),
            ("at a number to come", INVALID, read, at(str(int(sequence) + 2**90))),
            ("in no shard", VALIDATION, read, {**on, "ShardIteratorType": "LATEST"}),
            ("in a strange shard", VALIDATION, read, {**at(sequence), "ShardId": "a b"}),
            ("read 0", VALIDATION, kinesis.get_records, {"ShardIterator": iterator, "Limit": 0}),
            (
                "at a time to come",
                INVALID,
                read,
                {**on, "ShardId": shard_id(0), "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": ahead},
            ),
        ]
    )


@check
def edges_of_shards(backend):
    kinesis = backend.kinesis
    backend.stream("edge-shards", 4)
    on = {"StreamName": "edge-shards"}
    split, merge, scale = kinesis.split_shard, kinesis.merge_shards, kinesis.update_shard_count
    ends = [int(shard["HashKeyRange"]["EndingHashKey"]) for shard in backend.shards("edge-shards")]

    def first_at(key):
        return {**on, "ShardToSplit": shard_id(0), "NewStartingHashKey": str(key)}

    def pair(one, other):
        return {**on, "ShardToMerge": shard_id(one), "AdjacentShardToMerge": shard_id(other)}

    def to(count, kind="UNIFORM_SCALING"):
        return {**on, "TargetShardCount": count, "ScalingType": kind}

    compare(
        [
            ("split at the start", INVALID, split, first_at(0)),
            ("split after the end", INVALID, split, first_at(ends[0] + 1)),
            ("split elsewhere", INVALID, split, first_at(TOP)),
            ("split at abc", VALIDATION, split, first_at("abc")),
            ("split nowhere", NOT_FOUND, split, {**first_at(5), "StreamName": "none"}),
            ("merge strangers", INVALID, merge, pair(0, 2)),
            ("merge with none", NOT_FOUND, merge, pair(0, 9)),
            ("to none", VALIDATION, scale, to(0)),
            ("to less than half", INVALID, scale, to(1)),
            ("in another way", VALIDATION, scale, to(4, "X")),
        ],
        settle=lambda: backend.active("edge-shards"),
    )
    backend.stream("edge-closed", 4)
    on = {"StreamName": "edge-closed"}
    merge(**pair(2, 3))
    backend.active("edge-closed")
    compare(
        [
            ("merge a closed one", INVALID, merge, pair(3, 4)),
            ("split a closed one", INVALID, split, {**first_at(TOP - 5), "ShardToSplit": shard_id(3)}),
        ]
    )


@check
def edges_of_consumers(backend):
    kinesis = backend.kinesis
    arn = backend.stream("edge-consumers")
    none = arn.replace("edge-consumers", "none")
    register, describe = kinesis.register_stream_consumer, kinesis.describe_stream_consumer
    compare(
        [
            ("a strange name", VALIDATION, register, {"StreamARN": arn, "ConsumerName": "a b"}),
            ("of no stream", NOT_FOUND, register, {"StreamARN": none, "ConsumerName": "c"}),
            ("describe none", INVALID, describe, {}),
            ("describe an unknown one", NOT_FOUND, describe, {"ConsumerARN": f"{arn}/consumer/x:1"}),
            ("list of no stream", NOT_FOUND, kinesis.list_stream_consumers, {"StreamARN": none}),
        ]
    )
