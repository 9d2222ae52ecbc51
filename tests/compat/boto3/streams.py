"""Streams as things: life, settings, tags, listing."""

from datetime import UTC, datetime, timedelta

from backend import PATIENCE_SECONDS, check, refused, require, same, shard_id, until

TOP = 2**128 - 1


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
