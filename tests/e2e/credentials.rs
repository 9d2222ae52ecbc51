//! Whose credentials a process calls AWS with, when its configuration leaves that to its surroundings: profiles, roles,
//! and the sources of the AWS default chain.

use std::collections::BTreeSet;
use std::fs;

use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer};
use shardmill_tests::http::{Request, Server};
use shardmill_tests::properties::Properties;

use crate::process::run_in;

/// No instance metadata is looked for, unless a test has some.
const ALONE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
const CALLS: [&str; 4] = ["GetRecords", "ListShards", "Scan", "UpdateItem"];

fn account() -> Account {
    let account = Account::new();
    account.stream("lines", 1);
    Producer::new(5).put(account.kinesis(), "lines", 20);
    account
}

/// A job with no word about credentials or region.
fn bare(account: &Account) -> Properties {
    let properties = account.properties(&["lines"]).unset("systems.kinesis.aws.region");
    let properties = properties.unset("systems.kinesis.streams.lines.aws.accessKey");
    properties.unset("sensitive.systems.kinesis.streams.lines.aws.secretKey")
}

/// Who called, and for which region, while the job processed everything.
fn signers(account: &Account, properties: &Properties, env: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    let journal = account.journal(&CALLS);
    account.configure(properties);
    let mut process = run_in(account, "run.log", &["--until-caught-up"], env);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    assert_eq!(echoes::read(&account.output()).len(), 20);
    journal.calls().into_iter().map(|call| (call.caller, call.region)).collect()
}

fn one(caller: &str, region: &str) -> BTreeSet<(String, String)> {
    BTreeSet::from([(caller.to_owned(), region.to_owned())])
}

/// What an ECS container and an EC2 instance are told.
fn temporary(key: &str) -> String {
    format!(
        r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "{key}", "SecretAccessKey": "secret",
             "Token": "token", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}}"#
    )
}

fn sts(key: &'static str) -> Server {
    Server::start(move |request| {
        let action = request.body.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
        Some(format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
             </{action}Result></{action}Response>"
        ))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_gives_credentials_and_region() {
    let account = account();
    let (config, credentials) = (account.path("config"), account.path("credentials"));
    fs::write(&config, "[profile ops]\nregion = eu-north-1\n[default]\nregion = us-east-1\n").unwrap();
    fs::write(&credentials, "[ops]\naws_access_key_id = OPS\naws_secret_access_key = secret\n").unwrap();
    let (config, credentials) = (config.display().to_string(), credentials.display().to_string());
    let env = [ALONE, ("AWS_CONFIG_FILE", &config), ("AWS_SHARED_CREDENTIALS_FILE", &credentials)];
    // The environment's are not asked: the profile is named.
    let env = [env.as_slice(), &[("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "x")]].concat();
    let properties = bare(&account).set("systems.kinesis.aws.profile", "ops");
    assert_eq!(signers(&account, &properties, &env), one("OPS", "eu-north-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_not_there_is_named() {
    let account = account();
    account.configure(&bare(&account).set("systems.kinesis.aws.profile", "ops"));
    let env = [ALONE, ("AWS_REGION", "us-east-1"), ("AWS_CONFIG_FILE", "/nowhere")];
    let mut process = run_in(&account, "run.log", &[], &env);
    assert_eq!(process.wait().code(), Some(1));
    let log = process.log();
    assert!(log.contains("the AWS profile `ops` provides no credentials"), "{log}");
    assert!(log.contains("AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_what_the_environment_gives() {
    let (account, sts) = (account(), sts("ASIAROLE"));
    let role = "arn:aws:iam::123456789012:role/reader";
    let properties = bare(&account)
        .set("systems.kinesis.aws.roleArn", role)
        .set("sensitive.systems.kinesis.aws.clientConfig.Headers.X-Team", "orders")
        .set("systems.kinesis.streams.lines.aws.externalId", "tenant-7");
    let url = sts.url();
    let env = [ALONE, ("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "eu-west-3")];
    let env = [env.as_slice(), &[("AWS_ENDPOINT_URL_STS", &*url)]].concat();
    assert_eq!(signers(&account, &properties, &env), one("ASIAROLE", "eu-west-3"));
    let asked = sts.requests();
    assert!(asked.iter().all(|it| it.body.contains("ExternalId=tenant-7")), "{asked:?}");
    assert!(asked.iter().all(|it| it.body.contains("RoleSessionName=test-1")), "{asked:?}");
    assert!(asked.iter().all(|it| it.header("authorization").is_some_and(|it| it.contains("Credential=ENV/"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containers_credentials_are_found() {
    let account = account();
    let container =
        Server::start(|request: &Request| request.line.starts_with("GET /creds").then(|| temporary("ASIACONTAINER")));
    let url = format!("{}/creds", container.url());
    let env = [ALONE, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), ("AWS_REGION", "us-east-1")];
    assert_eq!(signers(&account, &bare(&account), &env), one("ASIACONTAINER", "us-east-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instances_credentials_and_region_are_found() {
    const ROLE: &str = "/iam/security-credentials/";
    let account = account();
    let metadata = Server::start(|request: &Request| {
        let path = request.line.split(' ').nth(1)?;
        Some(match path.strip_prefix("/latest/meta-data") {
            None => "token".to_owned(),
            Some("/placement/region") => "sa-east-1".to_owned(),
            Some(ROLE) => "orders".to_owned(),
            Some(path) if path.starts_with(ROLE) => temporary("ASIAINSTANCE"),
            Some(_) => return None,
        })
    });
    let url = metadata.url();
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    assert_eq!(signers(&account, &bare(&account), &env), one("ASIAINSTANCE", "sa-east-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_is_exchanged_for_credentials() {
    let (account, sts) = (account(), sts("ASIAWEB"));
    let token = account.path("token");
    fs::write(&token, "eyJhbGciOi").unwrap();
    let (token, url) = (token.display().to_string(), sts.url());
    let env = [
        ALONE,
        ("AWS_REGION", "us-east-1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod"),
        ("AWS_ENDPOINT_URL_STS", &url),
    ];
    assert_eq!(signers(&account, &bare(&account), &env), one("ASIAWEB", "us-east-1"));
}
