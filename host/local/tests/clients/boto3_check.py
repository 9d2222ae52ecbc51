"""boto3 against the local backend: every call a consumer makes, and the event stream."""

import boto3
from botocore.exceptions import ClientError

STREAM = "boto3"
RECORDS = 200


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"not refused with {code}")


def read(kinesis, shard):
    iterator = kinesis.get_shard_iterator(StreamName=STREAM, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    return kinesis.get_records(ShardIterator=iterator["ShardIterator"])


def kinesis_check():
    kinesis = boto3.client("kinesis")
    kinesis.create_stream(StreamName=STREAM, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM)
    arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    records = [{"Data": b"record %d" % i, "PartitionKey": str(i)} for i in range(RECORDS)]
    assert kinesis.put_records(StreamARN=arn, Records=records)["FailedRecordCount"] == 0

    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamARN=arn)["Shards"]]
    seen = [record["Data"] for shard in shards for record in read(kinesis, shard)["Records"]]
    assert sorted(seen) == sorted(record["Data"] for record in records)

    kinesis.split_shard(StreamName=STREAM, ShardToSplit=shards[0], NewStartingHashKey="5")
    end = read(kinesis, shards[0])
    assert "NextShardIterator" not in end and len(end["ChildShards"]) == 2
    latest = kinesis.list_shards(StreamName=STREAM, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert len(latest) == 3

    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app")["Consumer"]["ConsumerARN"]
    start = {"Type": "TRIM_HORIZON"}
    subscription = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shards[0], StartingPosition=start)
    events = [event["SubscribeToShardEvent"] for event in subscription["EventStream"]]
    assert sum(len(event["Records"]) for event in events) == len(end["Records"])
    assert len(events[-1]["ChildShards"]) == 2

    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="x")
    refused("ResourceNotFoundException", kinesis.describe_stream, StreamName="absent")
    refused("UnknownOperationException", kinesis.get_resource_policy, ResourceARN=arn)
    kinesis.delete_stream(StreamName=STREAM, EnforceConsumerDeletion=True)


def dynamodb_check():
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="boto3",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
    )
    item = {"leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "0"}}
    absent = "attribute_not_exists(leaseKey)"
    dynamodb.put_item(TableName="boto3", Item=item, ConditionExpression=absent)
    refused(
        "ConditionalCheckFailedException",
        dynamodb.put_item,
        TableName="boto3",
        Item=item,
        ConditionExpression=absent,
    )
    dynamodb.delete_table(TableName="boto3")


kinesis_check()
dynamodb_check()
print(f"OK boto3 {boto3.__version__}: {RECORDS} records, split, fan-out, refusals, conditional writes")
