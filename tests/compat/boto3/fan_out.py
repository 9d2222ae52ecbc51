"""Enhanced fan-out: consumers and their subscriptions."""

import threading
import time

from backend import check, refused, require, same, shard_id, until

MIDDLE = 2**127


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
    same(
        kinesis.describe_stream_consumer(ConsumerARN=made[0]["ConsumerARN"])["ConsumerDescription"]["ConsumerName"],
        "c0",
        "by ARN",
    )
    paginator = kinesis.get_paginator("list_stream_consumers")
    pages = paginator.paginate(StreamARN=arn, PaginationConfig={"PageSize": 2})
    same([c["ConsumerName"] for page in pages for c in page["Consumers"]], ["c0", "c1", "c2"], "in pages")
    refused("ResourceInUseException", kinesis.delete_stream, StreamName="fanout")
    kinesis.deregister_stream_consumer(StreamARN=arn, ConsumerName="c2")
    until(
        "c2 is gone", lambda: kinesis.list_stream_consumers(StreamARN=arn)["Consumers"], lambda found: len(found) == 2
    )
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
