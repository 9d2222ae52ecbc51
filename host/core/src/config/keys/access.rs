//! Access to AWS: whose credentials, which region. Samza's keys of it, and what they leave out.

use super::Setter::Operator;
use super::{Family, Key, Masking};
use crate::config::value::Kind;

pub(super) const FAMILY: Family = Family {
    title: "Access to AWS",
    intro: "Samza has `aws.region`, `aws.accessKey` and `aws.secretKey`. Without any credentials the AWS default chain is asked: environment, profile, web identity, container, instance. A stream's own setting wins over its system's; a stream with credentials of its own does not take its system's role. DynamoDB (the lease table) is called with the stream's region, credentials and role, unless it has its own. Temporary credentials are fetched anew before they expire.",
    keys: KEYS,
};

keys![
    REGION = Key::either(Operator, "aws.region", Kind::Text, "AWS region; otherwise the AWS default chain decides"),
    ACCESS_KEY = Key::either(Operator, "aws.accessKey", Kind::Text, "AWS access key id, together with the secret key"),
    SECRET_KEY = Key::either(Operator, "aws.secretKey", Kind::Text, "AWS secret access key").masked(Masking::Required),
    SESSION_TOKEN = Key::either(
        Operator,
        "aws.sessionToken",
        Kind::Text,
        "session token, if access key and secret key are temporary"
    )
    .masked(Masking::Required),
    PROFILE = Key::either(
        Operator,
        "aws.profile",
        Kind::Text,
        "profile of `~/.aws/config` and `~/.aws/credentials`, with all that a profile can say (keys, role, SSO, process); instead of access key and secret key",
    ),
    ROLE_ARN = Key::either(
        Operator,
        "aws.roleArn",
        Kind::RoleArn,
        "role to assume with the credentials, as for a stream in another account",
    ),
    EXTERNAL_ID =
        Key::either(Operator, "aws.externalId", Kind::Text, "external id that the role's trust policy asks for"),
    ROLE_SESSION_NAME = Key::either(
        Operator,
        "aws.roleSessionName",
        Kind::SessionName,
        "name of the role's session, as the logs of its account show it. Default: `<job.name>-<job.id>`",
    ),
    STS_ENDPOINT = Key::either(
        Operator,
        "aws.stsEndpoint",
        Kind::Url,
        "address of STS, which gives the role's credentials. Otherwise `AWS_ENDPOINT_URL_STS` or `AWS_ENDPOINT_URL` of the environment, else the region's own",
    ),
    DYNAMODB_REGION = Key::either(Operator, "aws.dynamodb.region", Kind::Text, "region of the lease table"),
    DYNAMODB_ACCESS_KEY = Key::either(
        Operator,
        "aws.dynamodb.accessKey",
        Kind::Text,
        "AWS access key id for the lease table, together with its secret key",
    ),
    DYNAMODB_SECRET_KEY =
        Key::either(Operator, "aws.dynamodb.secretKey", Kind::Text, "AWS secret access key for the lease table")
            .masked(Masking::Required),
    DYNAMODB_SESSION_TOKEN =
        Key::either(Operator, "aws.dynamodb.sessionToken", Kind::Text, "session token for the lease table")
            .masked(Masking::Required),
    DYNAMODB_PROFILE = Key::either(Operator, "aws.dynamodb.profile", Kind::Text, "profile for the lease table"),
    DYNAMODB_ROLE_ARN = Key::either(
        Operator,
        "aws.dynamodb.roleArn",
        Kind::RoleArn,
        "role to assume for the lease table; with the stream's credentials if the lease table has none of its own",
    ),
    DYNAMODB_EXTERNAL_ID = Key::either(Operator, "aws.dynamodb.externalId", Kind::Text, "external id for this role"),
    DYNAMODB_ROLE_SESSION_NAME = Key::either(
        Operator,
        "aws.dynamodb.roleSessionName",
        Kind::SessionName,
        "name of this role's session. Default: `<job.name>-<job.id>`",
    ),
];
