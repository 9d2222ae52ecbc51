"""DynamoDB: what the protocols that keep leases in it do."""

from backend import Failed, check, refused, same


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
    same(
        (got["leaseCounter"], got["switches"], sorted(got["parentShardId"]["SS"])),
        ({"N": "2"}, {"N": "1"}, ["a", "b"]),
        "the row",
    )
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
