//! The making of a lease table. Owns its key and billing, and the wait until it can be used; knows no row but the key.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ProvisionedThroughput, ScalarAttributeType,
    TableDescription, TableStatus,
};
use shardmill_core::service::{ErrorKind, ServiceError};

use super::LeaseTable;
use super::row::attribute;

/// How long a new table may take until it is active; the Kinesis Client Library waits as long.
const CREATE_LIMIT: Duration = Duration::from_secs(600);

/// Between looks at a new table: short at first, because a local backend's is active at once.
const FIRST_POLL: Duration = Duration::from_millis(50);
const LONGEST_POLL: Duration = Duration::from_secs(2);

/// How a new table is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    PayPerRequest,
    /// Capacity units a second.
    Provisioned {
        read: u32,
        write: u32,
    },
}

/// Whether [`LeaseTable::ensure`] made the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    Created,
    Existed,
}

impl LeaseTable {
    /// Creates the table when it does not exist and waits until it is active. An existing one is only checked.
    ///
    /// # Errors
    /// `Invalid` when a table of this name has another key, `InUse` when it is not active in time or being deleted.
    pub async fn ensure(&self, billing: Billing) -> Result<Ensured, ServiceError> {
        let ensured = match self.describe().await? {
            Some(found) if is_active(&found) => {
                return self.check_key(&found).map(|()| Ensured::Existed);
            }
            Some(_) => Ensured::Existed,
            None => self.create(billing).await?,
        };
        let found = self.wait_active().await?;
        self.check_key(&found)?;
        Ok(ensured)
    }

    async fn describe(&self) -> Result<Option<TableDescription>, ServiceError> {
        let answer = self.client.describe_table().table_name(&self.table).send().await;
        match answer.map_err(|e| self.destination.failure("DescribeTable", &e)) {
            Ok(answer) => Ok(answer.table),
            Err(ServiceError { kind: ErrorKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, billing: Billing) -> Result<Ensured, ServiceError> {
        let key = KeySchemaElement::builder().attribute_name(attribute::KEY).key_type(KeyType::Hash).build();
        let definition =
            AttributeDefinition::builder().attribute_name(attribute::KEY).attribute_type(ScalarAttributeType::S);
        let request = self.client.create_table().table_name(&self.table);
        let request = request.key_schema(key.expect("name and type are set"));
        let request = request.attribute_definitions(definition.build().expect("name and type are set"));
        let request = match billing {
            Billing::PayPerRequest => request.billing_mode(BillingMode::PayPerRequest),
            Billing::Provisioned { read, write } => {
                let units = ProvisionedThroughput::builder();
                let units = units.read_capacity_units(read.into()).write_capacity_units(write.into()).build();
                request
                    .billing_mode(BillingMode::Provisioned)
                    .provisioned_throughput(units.expect("both units are set"))
            }
        };
        match request.send().await.map_err(|e| self.destination.failure("CreateTable", &e)) {
            Ok(_) => Ok(Ensured::Created),
            // Another worker was faster.
            Err(ServiceError { kind: ErrorKind::InUse, .. }) => Ok(Ensured::Existed),
            Err(error) => Err(error),
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
                let message = format!("table `{}` is {status}, expected ACTIVE (waited {seconds} s)", self.table);
                return Err(ServiceError { kind: ErrorKind::InUse, operation: "DescribeTable", message });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_POLL);
        }
    }

    /// Another application's table, given by mistake, must not get lease rows.
    fn check_key(&self, found: &TableDescription) -> Result<(), ServiceError> {
        let keys: Vec<_> = found.key_schema().iter().map(KeySchemaElement::attribute_name).collect();
        if keys == [attribute::KEY] {
            return Ok(());
        }
        let message =
            format!("table `{}` is not a lease table: its key is {keys:?}, expected [\"leaseKey\"]", self.table);
        Err(ServiceError { kind: ErrorKind::Invalid, operation: "DescribeTable", message })
    }
}

fn is_active(table: &TableDescription) -> bool {
    matches!(table.table_status, Some(TableStatus::Active | TableStatus::Updating))
}
