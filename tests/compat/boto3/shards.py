"""Shards: split, merged, listed."""

from datetime import UTC, datetime

from backend import check, refused, require, same, shard_id


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

    refused(
        "InvalidArgumentException",
        kinesis.merge_shards,
        StreamName="reshard",
        ShardToMerge=shard_id(2),
        AdjacentShardToMerge=shard_id(2),
    )
    refused(
        "ResourceNotFoundException",
        kinesis.split_shard,
        StreamName="reshard",
        ShardToSplit=shard_id(99),
        NewStartingHashKey="1",
    )
    refused(
        "InvalidArgumentException",
        kinesis.split_shard,
        StreamName="reshard",
        ShardToSplit=shard_id(2),
        NewStartingHashKey="0",
    )

    reply = kinesis.update_shard_count(StreamName="reshard", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    same((reply["CurrentShardCount"], reply["TargetShardCount"]), (2, 4), "counts")
    backend.active("reshard")
    still = [s for s in backend.shards("reshard") if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
    same(len(still), 4, "open shards")
    require(all("ParentShardId" in shard for shard in still), "children have parents")
    refused(
        "InvalidArgumentException",
        kinesis.update_shard_count,
        StreamName="reshard",
        TargetShardCount=9,
        ScalingType="UNIFORM_SCALING",
    )


@check
def list_shards(backend):
    kinesis = backend.kinesis
    backend.stream("shards", 3)
    kinesis.split_shard(StreamName="shards", ShardToSplit=shard_id(0), NewStartingHashKey="1000")
    backend.active("shards")

    def ids(**shard_filter):
        return [s["ShardId"] for s in backend.shards("shards", ShardFilter=shard_filter)]

    first, still, everything = (
        [shard_id(n) for n in range(3)],
        [shard_id(n) for n in range(1, 5)],
        [shard_id(n) for n in range(5)],
    )
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
    same(
        [s["ShardId"] for s in kinesis.list_shards(StreamName="shards", ExclusiveStartShardId=shard_id(3))["Shards"]],
        everything[4:],
        "after a shard",
    )
    refused("InvalidArgumentException", kinesis.list_shards, StreamName="shards", NextToken="x")
    refused("ResourceNotFoundException", kinesis.list_shards, StreamName="none")
