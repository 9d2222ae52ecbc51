//! Services that are away for long: at the start, where nothing is known yet, and later. They are waited for, and the
//! job's status names them for as long as they are away. What a person must mend stops the job, with the table's name.

use shardmill::failures::Subject;
use shardmill_core::leases::{Lease, Write};
use shardmill_core::position::{Checkpoint, Position, SequenceNumber};
use shardmill_local::model::ErrorKind;
use shardmill_local::{Fault, FaultAction};
use shardmill_tests::account::Account;
use shardmill_tests::echoes::{self, Producer, assert_each_once};
use shardmill_tests::wait::until;

use crate::job::Job;

const TABLE: &str = "test-1-lines";

fn away() -> [FaultAction; 5] {
    [
        FaultAction::Error(ErrorKind::InternalFailure),
        FaultAction::Error(ErrorKind::ProvisionedThroughputExceeded),
        FaultAction::LoseRequest,
        FaultAction::Page(200),
        FaultAction::Page(404),
    ]
}

fn is_known(job: &Job, subject: &Subject) -> Option<()> {
    job.status().outages.contains_key(subject).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_service_that_is_away_and_says_so() {
    for action in away() {
        for of_table in [true, false] {
            let account = Account::new();
            account.stream("lines", 1);
            Producer::new(1).put(account.kinesis(), "lines", 5);
            let faults = if of_table { account.dynamodb_faults() } else { account.faults() };
            let fault = faults.inject(Fault::new(action.clone()));
            let subject = match of_table {
                true => Subject::TableRead(TABLE.to_owned()),
                false => Subject::ShardList { stream: "lines".to_owned() },
            };
            // Without the client's own retries, which take their time.
            let properties = account.properties(&["lines"]).set("systems.kinesis.aws.clientConfig.MaxErrorRetry", "0");
            let job = Job::start(&properties).await;
            until(&format!("{subject} is known to be away: {action:?}"), async || is_known(&job, &subject)).await;
            until("it was asked for again", async || (fault.hits() > 2).then_some(())).await;
            fault.remove();
            job.processed(5).await;
            assert!(job.status().outages.is_empty(), "{:?}", job.status().outages);
            job.stop().await;
        }
    }
}

/// Leases run out meanwhile, and are taken again.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_goes_away_is_waited_for_and_nothing_is_lost() {
    for action in away() {
        let account = Account::new();
        account.stream("lines", 1);
        let mut producer = Producer::new(1);
        producer.put(account.kinesis(), "lines", 5);
        let properties = account.properties(&["lines"]).set("systems.kinesis.aws.clientConfig.MaxErrorRetry", "0");
        let job = Job::start(&properties.set("task.commit.ms", "20")).await;
        job.processed(5).await;
        let table = account.lease_table(TABLE).await;
        let last = account.records("lines").pop().unwrap().sequence_number;
        let committed = async || {
            let lease = table.scan().await.ok()?.leases.pop()?;
            (lease.checkpoint.sequence_text() == last).then_some(())
        };
        until("all of it is committed", committed).await;

        let fault = account.dynamodb_faults().inject(Fault::new(action.clone()));
        // The lease may be gone before a few of its renewals have failed; then it is the looks at the table that do.
        let subjects = [Subject::TableWrite(TABLE.to_owned()), Subject::TableRead(TABLE.to_owned())];
        let known = async || subjects.iter().find_map(|subject| is_known(&job, subject));
        until(&format!("the table is known to be away: {action:?}"), known).await;
        let lost = async || job.status().shards.is_empty().then_some(());
        until("the lease has run out", lost).await;
        producer.put(account.kinesis(), "lines", 5);
        fault.remove();
        job.processed(10).await;
        until("nothing is away", async || job.status().outages.is_empty().then_some(())).await;
        job.stop().await;
        assert_each_once(&echoes::read(&account.output()), &account.records("lines"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_stream_leaves_no_table_behind() {
    let account = Account::new();
    let job = Job::start(&account.properties(&["lines"])).await;
    let failure = job.failure().await;
    assert!(failure.starts_with("input kinesis.lines: ListShards: ResourceNotFoundException"), "{failure}");
    assert!(!account.lease_table(TABLE).await.find().await.unwrap(), "there is a table for no stream");
}

/// In the table of a stream that was deleted and made again, or in another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_stream_is_an_error_with_the_table_and_the_remedy() {
    let account = Account::new();
    account.stream("lines", 1);
    let table = account.lease_table(TABLE).await;
    table.ensure(shardmill_core::config::NewTable::default()).await.unwrap();
    let sequence = SequenceNumber::parse(&format!("4{}", "9".repeat(55))).unwrap();
    let checkpoint = Checkpoint::At(Position { sequence, sub_sequence: 0 });
    let lease = Lease {
        key: "shardId-000000000000".to_owned(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint,
        parents: Vec::new(),
        children: Vec::new(),
        hash_range: None,
        checkpoint_owner: None,
        latest_since: None,
    };
    table.write(&Write::Create(lease)).await.unwrap();
    let failure = Job::start(&account.properties(&["lines"])).await.failure().await;
    for part in ["shardId-000000000000", "lease table test-1-lines", "TableName="] {
        assert!(failure.contains(part), "{part} is not in: {failure}");
    }
}
