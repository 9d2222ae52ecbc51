//! Creation of a lease table. Owns its key and billing, and the wait until it is active; knows no attribute but the key.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;
use aws_sdk_dynamodb::types::{
    self as wire, AttributeDefinition, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ProvisionedThroughput, ScalarAttributeType, TableDescription, TableStatus,
};
use shardmill_core::config::{BillingMode, NewTable};
use shardmill_core::service::{ErrorKind, ServiceError};

use super::LeaseTable;
use super::row::attribute;

/// How long a new table may take to become active; the same as in the Kinesis Client Library.
const CREATE_LIMIT: Duration = Duration::from_secs(600);

/// Pauses between polls of a new table: short at first, because a local backend's is active at once.
const FIRST_POLL: Duration = Duration::from_millis(50);
const LONGEST_POLL: Duration = Duration::from_secs(2);

/// Whether [`LeaseTable::ensure`] created the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    Created,
    Existed,
}

impl LeaseTable {
    /// Returns whether the table exists. If so, waits until it is active, and checks it.
    ///
    /// # Errors
    /// As for [`LeaseTable::ensure`].
    pub async fn find(&self) -> Result<bool, ServiceError> {
        let found = match self.describe().await? {
            Some(found) if is_active(&found) => found,
            Some(_) => self.wait_active().await?,
            None => return Ok(false),
        };
        self.check_key(&found)?;
        Ok(true)
    }

    /// Creates the table when it does not exist and waits until it is active. An existing one is only checked.
    ///
    /// # Errors
    /// `Invalid` when a table of this name has another key, `InUse` when it is not active in time or being deleted.
    pub async fn ensure(&self, new: NewTable) -> Result<Ensured, ServiceError> {
        if self.find().await? {
            self.keep_backups_if_due().await?;
            return Ok(Ensured::Existed);
        }
        let ensured = self.create(new).await?;
        // Stays set until it is done, possibly by a later call: the service may become unavailable in between.
        let wants_backups = ensured == Ensured::Created && new.point_in_time_recovery;
        self.backups_due.fetch_or(wants_backups, Ordering::Relaxed);
        let found = self.wait_active().await?;
        self.check_key(&found)?;
        self.keep_backups_if_due().await?;
        Ok(ensured)
    }

    async fn describe(&self) -> Result<Option<TableDescription>, ServiceError> {
        let answer = self.client.describe_table().table_name(&self.table).send().await;
        match answer.map_err(|e| self.failure("DescribeTable", &e)) {
            Ok(DescribeTableOutput { table: Some(table), .. }) => Ok(Some(table)),
            Ok(_) => Err(self.unreadable("DescribeTable", "a response without a table")),
            Err(ServiceError { kind: ErrorKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, new: NewTable) -> Result<Ensured, ServiceError> {
        // Backups are switched on once the table is active.
        let NewTable { billing_mode, deletion_protection, point_in_time_recovery: _ } = new;
        let key = KeySchemaElement::builder().attribute_name(attribute::KEY).key_type(KeyType::Hash).build();
        let definition =
            AttributeDefinition::builder().attribute_name(attribute::KEY).attribute_type(ScalarAttributeType::S);
        let request = self.client.create_table().table_name(&self.table);
        let request = request.key_schema(key.expect("name and type are set"));
        let request = request.attribute_definitions(definition.build().expect("name and type are set"));
        let request = request.set_deletion_protection_enabled(deletion_protection.then_some(true));
        let request = match billing_mode {
            BillingMode::PayPerRequest => request.billing_mode(wire::BillingMode::PayPerRequest),
            BillingMode::Provisioned { read, write } => {
                let units = ProvisionedThroughput::builder();
                let units = units.read_capacity_units(read.into()).write_capacity_units(write.into()).build();
                request
                    .billing_mode(wire::BillingMode::Provisioned)
                    .provisioned_throughput(units.expect("both units are set"))
            }
        };
        match request.send().await.map_err(|e| self.failure("CreateTable", &e)) {
            Ok(_) => Ok(Ensured::Created),
            // Another worker was faster.
            Err(ServiceError { kind: ErrorKind::InUse, .. }) => Ok(Ensured::Existed),
            Err(error) => Err(error),
        }
    }

    async fn keep_backups_if_due(&self) -> Result<(), ServiceError> {
        if self.backups_due.load(Ordering::Relaxed) {
            self.keep_backups().await?;
            self.backups_due.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The service rejects this for a moment after it has created a table.
    async fn keep_backups(&self) -> Result<(), ServiceError> {
        const OPERATION: &str = "UpdateContinuousBackups";
        let begin = Instant::now();
        let on = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
        let on = on.expect("whether it is enabled is set");
        let mut pause = FIRST_POLL;
        loop {
            let request = self.client.update_continuous_backups().table_name(&self.table);
            let error = match request.point_in_time_recovery_specification(on.clone()).send().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let is_early = error.as_service_error().is_some_and(|it| it.is_continuous_backups_unavailable_exception());
            if !is_early || begin.elapsed() >= CREATE_LIMIT {
                return Err(self.failure(OPERATION, &error));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_POLL);
        }
    }

    async fn wait_active(&self) -> Result<TableDescription, ServiceError> {
        let begin = Instant::now();
        let mut pause = FIRST_POLL;
        loop {
            let found = self.describe().await?;
            if let Some(table) = found.as_ref().filter(|table| is_active(table)) {
                return Ok(table.clone());
            }
            let status = found.and_then(|table| table.table_status);
            if status == Some(TableStatus::Deleting) || begin.elapsed() >= CREATE_LIMIT {
                let status = status.as_ref().map_or("absent", TableStatus::as_str);
                let seconds = begin.elapsed().as_secs();
                let message = format!("its status is {status}, expected ACTIVE (waited {seconds} s)");
                return Err(self.named(ServiceError { kind: ErrorKind::InUse, operation: "DescribeTable", message }));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_POLL);
        }
    }

    /// Another application's table, named by mistake, must not receive lease rows; and a table with another key accepts none.
    fn check_key(&self, found: &TableDescription) -> Result<(), ServiceError> {
        let types = found.attribute_definitions();
        let described = |key: &KeySchemaElement| {
            let name = key.attribute_name();
            let known = types.iter().find(|it| it.attribute_name() == name).map(AttributeDefinition::attribute_type);
            let role = if *key.key_type() == KeyType::Range { " as sort key" } else { "" };
            // The service always returns the type.
            format!("`{name}` of type {}{role}", known.unwrap_or(&ScalarAttributeType::S).as_str())
        };
        let key: Vec<String> = found.key_schema().iter().map(described).collect();
        let expected = format!("`{}` of type {}", attribute::KEY, ScalarAttributeType::S.as_str());
        if key == [expected.as_str()] {
            return Ok(());
        }
        let key = key.join(" and ");
        let message = format!(
            "it is not a lease table: its key is {key}, expected {expected} alone; set another TableName, or delete this \
            table if nothing else uses it, and a new one is created"
        );
        Err(self.invalid("DescribeTable", message))
    }
}

fn is_active(table: &TableDescription) -> bool {
    matches!(table.table_status, Some(TableStatus::Active | TableStatus::Updating))
}
