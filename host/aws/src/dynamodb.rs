//! The lease table in DynamoDB: reads it and performs core's conditional writes on it. Owns the expressions;
//! decides on no lease.

mod ensure;
mod row;

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use shardmill_core::config::{Access, ClientSettings};
use shardmill_core::kinesis::shard::{HashRange, ShardId};
use shardmill_core::kinesis::stream::StreamIdentifier;
use shardmill_core::leases::{Lease, Outcome, Scan, Write};
use shardmill_core::position::Checkpoint;
use shardmill_core::service::{ErrorKind, ServiceError};

use crate::client::Connection;
use crate::error::Destination;
use row::attribute;

pub use ensure::Ensured;
pub use row::{Item, read as read_row};

/// Pages of a scan (1 MB each) after which the table is assumed not to be a lease table.
const MAX_PAGES: usize = 1_000;

/// One application's lease table. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct LeaseTable {
    client: Client,
    table: String,
    consistent_reads: bool,
    /// The stream of these leases, in a table that several streams share.
    stream: Option<StreamIdentifier>,
    /// This client created the table and has not enabled its backups yet.
    backups_due: Arc<AtomicBool>,
    destination: Destination,
}

impl LeaseTable {
    /// Resolves region and credentials; calls no table.
    ///
    /// # Errors
    /// `Invalid` without a region or with a malformed endpoint, `Denied` without credentials.
    pub async fn new(
        access: &Access,
        settings: &ClientSettings,
        table: impl Into<String>,
    ) -> Result<Self, ServiceError> {
        let connection = Connection { access, settings };
        let (config, destination) = connection.resolve().await?;
        let mut config = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(connection.headers());
        config.set_retry_partition(connection.retry_partition());
        Ok(Self {
            client: Client::from_conf(config.build()),
            table: table.into(),
            consistent_reads: false,
            stream: None,
            backups_due: Arc::default(),
            destination,
        })
    }

    /// Restricts the table to the leases of this stream, in a table that several streams share as a multi-stream application
    /// of the Kinesis Client Library does: its rows name the stream, and their keys consist of stream and shard. `None`: the
    /// table of a single stream.
    #[must_use]
    pub fn of_stream(self, stream: Option<StreamIdentifier>) -> Self {
        Self { stream, ..self }
    }

    /// Reads the table with strong consistency, at twice the price.
    #[must_use]
    pub fn with_consistent_reads(self, consistent_reads: bool) -> Self {
        Self { consistent_reads, ..self }
    }

    /// Reads the whole table, by default with eventual consistency. Counts rows that are not leases, and names leases that
    /// cannot be read.
    pub async fn scan(&self) -> Result<Scan, ServiceError> {
        const OPERATION: &str = "Scan";
        let mut scan = Scan::default();
        let mut from = None;
        for _ in 0..MAX_PAGES {
            let request = self.client.scan().table_name(&self.table).set_exclusive_start_key(from);
            let request = request.set_consistent_read(self.consistent_reads.then_some(true));
            let page = request.send().await.map_err(|e| self.failure(OPERATION, &e))?;
            let items = page.items.ok_or_else(|| self.unreadable(OPERATION, "a response without items"))?;
            for item in items {
                match row::read(&item, self.stream.as_ref()) {
                    Ok(Some(lease)) => scan.leases.push(lease),
                    Ok(None) => scan.foreign += 1,
                    Err(reason) => scan.undecodable.push((row::key_of(&item, self.stream.as_ref()), reason)),
                }
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(scan);
            }
        }
        Err(self.invalid(OPERATION, format!("it has more than {MAX_PAGES} pages of rows")))
    }

    /// Reads one lease with strong consistency; `None` also when the row is not a lease.
    ///
    /// # Errors
    /// `Invalid` when it is a lease that cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Lease>, ServiceError> {
        const OPERATION: &str = "GetItem";
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let request = request.key(attribute::KEY, self.key(key));
        let answer = request.send().await.map_err(|e| self.failure(OPERATION, &e))?;
        let Some(item) = answer.item else {
            return Ok(None);
        };
        row::read(&item, self.stream.as_ref())
            .map_err(|reason| self.invalid(OPERATION, format!("row `{key}` is not a readable lease: {reason}")))
    }

    /// The error of a failed call. Its message names the table, because many jobs with different tables may run in one
    /// process.
    fn failure<E>(&self, operation: &'static str, error: &SdkError<E, HttpResponse>) -> ServiceError
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        self.named(self.destination.failure(operation, error))
    }

    /// A response that the service itself would not send: nothing was wrong with the request.
    fn unreadable(&self, operation: &'static str, message: &str) -> ServiceError {
        let message = format!("unreadable response: {message}");
        self.named(ServiceError { kind: ErrorKind::Unavailable, operation, message })
    }

    fn invalid(&self, operation: &'static str, message: String) -> ServiceError {
        self.named(ServiceError { kind: ErrorKind::Invalid, operation, message })
    }

    fn named(&self, error: ServiceError) -> ServiceError {
        ServiceError { message: format!("lease table `{}`: {}", self.table, error.message), ..error }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.table
    }

    /// Performs one conditional write, exactly as [`Write`] specifies.
    pub async fn write(&self, write: &Write) -> Result<Outcome, ServiceError> {
        match write {
            Write::Create(lease) => self.put_row(row::new_row(lease, self.stream.as_ref())).await,
            Write::Restore(lease) => self.put_row(row::whole_row(lease, self.stream.as_ref())).await,
            Write::Renew { key, owner, counter } => self.update_row(renew(key, owner, *counter)).await,
            Write::Take { seen, worker } => self.update_row(take(seen, worker)).await,
            Write::Evict { key, owner } => self.update_row(evict(key, owner)).await,
            Write::Checkpoint { key, owner, counter, checkpoint } => {
                self.update_row(checkpoint_at(key, owner, *counter, checkpoint)).await
            }
            Write::Children { key, children } => self.update_row(name_children(key, children)).await,
            Write::HashRange { key, range } => self.update_row(set_hash_range(key, range)).await,
            Write::Delete { key, counter } => self.delete_row(key, *counter).await,
        }
    }
}

/// An UpdateItem: changes only what the expression names and preserves all other attributes of the row.
struct Update<'a> {
    key: &'a str,
    condition: &'static str,
    expression: Cow<'static, str>,
    values: Vec<(&'static str, AttributeValue)>,
}

/// What a holder's own writes ask for.
const HELD: &str = "leaseCounter = :seen AND (leaseOwner = :owner OR checkpointOwner = :owner)";

fn renew<'a>(key: &'a str, owner: &str, counter: u64) -> Update<'a> {
    Update {
        key,
        condition: HELD,
        expression: "SET leaseCounter = :next".into(),
        values: vec![
            (":owner", row::text(owner)),
            (":seen", row::number(counter)),
            (":next", row::number(counter.saturating_add(1))),
        ],
    }
}

fn take<'a>(seen: &'a Lease, worker: &str) -> Update<'a> {
    let mut expression = "SET leaseCounter = :next, leaseOwner = :worker".to_owned();
    let mut values = vec![
        (":seen", row::number(seen.counter)),
        (":next", row::number(seen.counter.saturating_add(1))),
        (":worker", row::text(worker)),
    ];
    if let Some(since) = seen.latest_since {
        expression += ", shardmillLatestSince = if_not_exists(shardmillLatestSince, :since)";
        values.push((":since", row::number(since)));
    }
    expression += " REMOVE checkpointOwner";
    if seen.owner.as_ref().is_some_and(|owner| owner != worker) {
        expression += " ADD ownerSwitchesSinceCheckpoint :one";
        values.push((":one", row::number(1)));
    }
    Update { key: &seen.key, condition: "leaseCounter = :seen", expression: expression.into(), values }
}

fn evict<'a>(key: &'a str, owner: &str) -> Update<'a> {
    Update {
        key,
        condition: "leaseOwner = :owner",
        expression: "REMOVE leaseOwner ADD leaseCounter :one".into(),
        values: vec![(":owner", row::text(owner)), (":one", row::number(1))],
    }
}

fn checkpoint_at<'a>(key: &'a str, owner: &str, counter: u64, checkpoint: &Checkpoint) -> Update<'a> {
    Update {
        key,
        condition: HELD,
        expression: "SET leaseCounter = :next, checkpoint = :sequence, \
                     checkpointSubSequenceNumber = :sub, ownerSwitchesSinceCheckpoint = :zero \
                     REMOVE pendingCheckpoint, pendingCheckpointSubSequenceNumber, pendingCheckpointState, \
                     shardmillLatestSince"
            .into(),
        values: vec![
            (":owner", row::text(owner)),
            (":seen", row::number(counter)),
            (":next", row::number(counter.saturating_add(1))),
            (":sequence", row::text(checkpoint.sequence_text())),
            (":sub", row::number(checkpoint.sub_sequence())),
            (":zero", row::number(0)),
        ],
    }
}

fn name_children<'a>(key: &'a str, children: &[ShardId]) -> Update<'a> {
    Update {
        key,
        condition: "attribute_exists(leaseKey)",
        expression: "SET childShardIds = :children".into(),
        values: vec![(":children", AttributeValue::Ss(children.to_vec()))],
    }
}

fn set_hash_range<'a>(key: &'a str, range: &HashRange) -> Update<'a> {
    Update {
        key,
        condition: "attribute_exists(leaseKey) AND attribute_not_exists(startingHashKey)",
        expression: "SET startingHashKey = :start, endingHashKey = :end".into(),
        values: vec![(":start", row::text(&range.start.to_string())), (":end", row::text(&range.end.to_string()))],
    }
}

impl LeaseTable {
    /// Puts a row unless it exists.
    async fn put_row(&self, item: row::Item) -> Result<Outcome, ServiceError> {
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let request = request.condition_expression("attribute_not_exists(leaseKey)");
        let request = request.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match request.send().await {
            Ok(_) => return Ok(Outcome::Done),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(self.condition_failed(failed.item())),
            _ => Err(self.failure("PutItem", &error)),
        }
    }

    /// Deletes a finished lease that no other worker has modified.
    async fn delete_row(&self, key: &str, counter: u64) -> Result<Outcome, ServiceError> {
        let request = self.client.delete_item().table_name(&self.table).key(attribute::KEY, self.key(key));
        let request = request.condition_expression("leaseCounter = :seen AND checkpoint = :end");
        let request = request.expression_attribute_values(":seen", row::number(counter));
        let request = request.expression_attribute_values(":end", row::text(Checkpoint::ShardEnd.sequence_text()));
        let request = request.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match request.send().await {
            Ok(_) => return Ok(Outcome::Done),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(failed)) => Ok(self.condition_failed(failed.item())),
            _ => Err(self.failure("DeleteItem", &error)),
        }
    }

    async fn update_row(&self, update: Update<'_>) -> Result<Outcome, ServiceError> {
        let values = update.values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = self.client.update_item().table_name(&self.table);
        let request = request.key(attribute::KEY, self.key(update.key));
        let request = request.condition_expression(update.condition).update_expression(update.expression);
        let request = request.set_expression_attribute_values(Some(values));
        let request = request.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match request.send().await {
            Ok(_) => return Ok(Outcome::Done),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(self.condition_failed(failed.item())),
            _ => Err(self.failure("UpdateItem", &error)),
        }
    }

    fn condition_failed(&self, item: Option<&HashMap<String, AttributeValue>>) -> Outcome {
        Outcome::ConditionFailed(item.and_then(|item| row::read(item, self.stream.as_ref()).ok().flatten()))
    }

    fn key(&self, shard: &str) -> AttributeValue {
        row::text(&row::key(self.stream.as_ref(), shard))
    }
}
