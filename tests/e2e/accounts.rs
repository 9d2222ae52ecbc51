//! Several accounts and regions in one job: each stream is read, and its leases are kept, where its own settings say and
//! as whom they say.

use std::collections::BTreeSet;

use shardmill_core::leases::Lease;
use shardmill_local::Options;
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Echo, Producer, assert_each_once, assert_shards_in_order};
use shardmill_tests::properties::Properties;

use crate::job::Job;

const READS: [&str; 4] = ["ListShards", "GetShardIterator", "GetRecords", "SubscribeToShard"];
const LEASES: [&str; 5] = ["DescribeTable", "CreateTable", "Scan", "PutItem", "UpdateItem"];

fn account(region: &str) -> Account {
    Account::with(Options { limits: false, region: region.to_owned(), ..Options::default() })
}

/// The echoes of one system's stream, with the bare shard as their place.
fn of_system(all: &[Echo], system: &str) -> Vec<Echo> {
    let place = format!("{system}.lines/");
    let own = all.iter().filter_map(|echo| Some((echo, echo.shard.strip_prefix(&place)?.to_owned())));
    own.map(|(echo, shard)| Echo { shard, ..echo.clone() }).collect()
}

async fn rows(account: &Account, table: &str) -> Vec<Lease> {
    account.lease_table(table).await.scan().await.map(|scan| scan.leases).unwrap_or_default()
}

/// Who called one of the operations, and for which region.
fn signers(account: &Account, operations: &[&str]) -> BTreeSet<(String, String)> {
    let calls = account.journal(operations).calls().into_iter();
    let calls = calls.filter(|call| operations.contains(&call.operation.as_str()));
    calls.map(|call| (call.caller, call.region)).collect()
}

fn one(caller: &str, region: &str) -> BTreeSet<(String, String)> {
    BTreeSet::from([(caller.to_owned(), region.to_owned())])
}

/// The job of the first account's stream, and of the second's stream of the same name as the system `other`.
fn both(first: &Account, second: &Account) -> Properties {
    let [kinesis, dynamodb] = second.endpoints();
    first
        .properties(&["lines"])
        .set("task.inputs", "kinesis.lines,other.lines")
        .set("task.config.name.stream", "true")
        .set("systems.kinesis.aws.region", "eu-west-1")
        .set("systems.kinesis.streams.lines.aws.accessKey", "FIRST")
        .set("systems.other.samza.factory", "kinesis")
        .set("systems.other.aws.region", "us-east-2")
        .set("systems.other.streams.lines.aws.dynamodb.region", "us-west-2")
        .set("systems.other.aws.accessKey", "SECOND")
        .set("sensitive.systems.other.aws.secretKey", "secret")
        .set("systems.other.streams.lines.aws.dynamodb.accessKey", "TABLE")
        .set("sensitive.systems.other.streams.lines.aws.dynamodb.secretKey", "secret")
        .set("systems.other.streams.lines.aws.kcl.KinesisEndpoint", &kinesis)
        .set("systems.other.aws.kcl.DynamoDBEndpoint", &dynamodb)
        .set("systems.other.aws.kcl.TableName", "other-leases")
        .set("systems.other.aws.kcl.InitialPositionInStream", "TRIM_HORIZON")
        .set("systems.other.aws.kcl.FailoverTimeMillis", "2000")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_with_a_stream_of_one_name_are_one_jobs_inputs() {
    for mode in ["POLLING", "FANOUT"] {
        let (first, second) = (account("eu-west-1"), account("us-east-2"));
        for account in [&first, &second] {
            account.stream("lines", 2);
            // Noted from here on; looked at below.
            drop(account.journal(&[READS.as_slice(), &LEASES].concat()));
        }
        Producer::new(20).put(first.kinesis(), "lines", 300);
        Producer::new(20).put(second.kinesis(), "lines", 500);
        let properties = both(&first, &second).kcl("RetrievalMode", mode);
        let job = Job::start(&properties.set("systems.other.aws.kcl.RetrievalMode", mode)).await;
        job.processed(800).await;
        job.stop().await;

        let all = echoes::read(&first.output());
        for (account, system) in [(&first, "kinesis"), (&second, "other")] {
            let own = of_system(&all, system);
            assert_each_once(&own, &account.records("lines"));
            assert_shards_in_order(&own);
        }
        assert_eq!(signers(&first, &READS), one("FIRST", "eu-west-1"));
        assert_eq!(signers(&first, &LEASES), one("FIRST", "eu-west-1"));
        assert_eq!(signers(&second, &READS), one("SECOND", "us-east-2"));
        assert_eq!(signers(&second, &LEASES), one("TABLE", "us-west-2"));
        assert_eq!((rows(&first, "test-1-lines").await.len(), rows(&first, "other-leases").await.len()), (2, 0));
        assert_eq!((rows(&second, "other-leases").await.len(), rows(&second, "test-1-lines").await.len()), (2, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_named_by_its_arn_where_its_name_is_not_enough() {
    for mode in ["POLLING", "FANOUT"] {
        let account = account("eu-west-1");
        account.stream("lines", 2);
        let journal = account.journal(&["ListShards", "GetShardIterator"]);
        Producer::new(20).put(account.kinesis(), "lines", 100);
        let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/lines";
        let properties = account.properties(&["lines"]).kcl("RetrievalMode", mode);
        let properties = properties.set("systems.kinesis.aws.region", "eu-west-1");
        let job = Job::start(&properties.set("systems.kinesis.streams.lines.aws.kcl.StreamArn", arn)).await;
        job.processed(100).await;
        job.stop().await;
        let calls = journal.calls();
        assert!(!calls.is_empty());
        for call in calls {
            assert!(String::from_utf8_lossy(&call.body).contains(arn), "{call:?}");
        }
    }
}
