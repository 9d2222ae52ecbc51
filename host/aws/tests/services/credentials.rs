//! Who signs: a role that is assumed at a small STS, and what becomes of its credentials.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use shardmill_aws::{Kinesis, LeaseTable};
use shardmill_core::config::{Access, Role};
use shardmill_core::service::ErrorKind;

use crate::harness::{access, once};
use crate::server::{Answer, Request, Server};

const ROLE: &str = "arn:aws:iam::210987654321:role/reader";
const HOUR: Duration = Duration::from_secs(3600);

/// An STS whose n-th credentials are `ASIA<n>`, from 0, and live so long.
async fn sts(life: fn(usize) -> Duration) -> Server {
    Server::start(move |number, _| {
        let expires = DateTime::from(SystemTime::now() + life(number)).fmt(DateTimeFormat::DateTime).unwrap();
        Answer::ok(&format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
             <AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret{number}</SecretAccessKey>\
             <SessionToken>token{number}</SessionToken><Expiration>{expires}</Expiration></Credentials>\
             </AssumeRoleResult></AssumeRoleResponse>"
        ))
    })
    .await
}

fn with_role(service: &Server, sts: &Server) -> Access {
    let role = Role {
        arn: ROLE.to_owned(),
        external_id: Some("tenant-7/eu".to_owned()),
        session_name: "orders-1".to_owned(),
        sts_endpoint: Some(sts.endpoint()),
    };
    Access { role: Some(role), ..access(service.endpoint()) }
}

/// The access key that a request is signed with, and its session token.
fn signer(request: &Request) -> (&str, Option<&str>) {
    let authorization = request.header("authorization").unwrap();
    let credential = authorization.split("Credential=").nth(1).unwrap();
    (credential.split('/').next().unwrap(), request.header("x-amz-security-token"))
}

#[tokio::test]
async fn a_roles_temporary_credentials_sign_both_services_requests() {
    let (sts, kinesis) = (sts(|_| HOUR).await, Server::of_no_records().await);
    let dynamodb = Server::start(|_, _| Answer::ok(r#"{"Items": []}"#)).await;
    let client = Kinesis::new(&with_role(&kinesis, &sts), &once()).await.unwrap();
    client.get_records("it", 1).await.unwrap();
    let asked = sts.requests();
    for request in &asked {
        let has = |pair: &str| request.body.split('&').any(|it| it == pair);
        assert!(has("Action=AssumeRole") && has("RoleSessionName=orders-1"), "{}", request.body);
        assert!(has("RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Freader"), "{}", request.body);
        assert!(has("ExternalId=tenant-7%2Feu"), "{}", request.body);
        assert_eq!(signer(request), ("local", None), "the role is assumed with the configured credentials");
        assert!(request.header("authorization").unwrap().contains("/us-east-1/sts/"), "{}", request.head);
    }
    let newest = asked.len() - 1;
    let expected = (format!("ASIA{newest}"), format!("token{newest}"));
    let requests = kinesis.requests();
    assert_eq!(signer(&requests[0]), (expected.0.as_str(), Some(expected.1.as_str())));

    let table = LeaseTable::new(&with_role(&dynamodb, &sts), &once(), "leases").await.unwrap();
    table.scan().await.unwrap();
    let newest = sts.requests().len() - 1;
    let requests = dynamodb.requests();
    assert_eq!(signer(&requests[0]), (format!("ASIA{newest}").as_str(), Some(format!("token{newest}").as_str())));
}

#[tokio::test]
async fn expired_credentials_are_fetched_again() {
    // The SDK replaces what lives for a few seconds only before it is used.
    let sts = sts(|number| if number < 3 { Duration::from_secs(1) } else { HOUR }).await;
    let kinesis = Server::of_no_records().await;
    let client = Kinesis::new(&with_role(&kinesis, &sts), &once()).await.unwrap();
    for _ in 0..5 {
        client.get_records("it", 1).await.unwrap();
    }
    let requests = kinesis.requests();
    let keys: Vec<&str> = requests.iter().map(|request| signer(request).0).collect();
    assert_eq!(keys, ["ASIA1", "ASIA2", "ASIA3", "ASIA3", "ASIA3"]);
}

#[tokio::test]
async fn a_role_that_is_refused_is_named_before_anything_is_called() {
    let refusal = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                   <Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error>\
                   </ErrorResponse>";
    let sts = Server::start(move |_, _| Answer { status: "403 Forbidden", ..Answer::ok(refusal) }).await;
    let kinesis = Server::of_no_records().await;
    let error = Kinesis::new(&with_role(&kinesis, &sts), &once()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    for part in [ROLE, "with its external id", "not authorized to perform: sts:AssumeRole", "trust policy"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert!(!error.message.contains("tenant-7"), "{error}");
    assert_eq!(kinesis.requests().len(), 0);
}
