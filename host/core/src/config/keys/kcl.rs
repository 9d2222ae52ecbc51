//! The Kinesis Client Library settings: `systems.S[.streams.X].aws.kcl.*`, named as the `with...` methods that Samza
//! reaches in KCL 1.x, first letter upper, and the later KCLs' settings in the same style.

use super::{Family, Key};
use crate::config::value::Kind;

pub(super) const FAMILY: Family = Family {
    title: "Kinesis Client Library settings",
    intro: "Names and defaults are those of the [KCL](https://github.com/awslabs/amazon-kinesis-client); where they differ, the default here is given. A stream's own setting wins over its system's.",
    keys: KEYS,
};

const COUNT: Kind = Kind::Int(1, i32::MAX as i64);
const TIME: Kind = Kind::Millis(1);

const CLOUDWATCH: &str = "no CloudWatch metrics are written";
const CLEANUP: &str = "the thresholds of the cleanup say how often it looks";
const ASSIGNMENT: &str = "leases are taken and balanced as KCL 1.x and 2.x do it, not by worker load";
const OWN_BACK_OFF: &str = "every call has its own bounded back-off here";
const NO_THREADS: &str = "there is no such thread pool here";
const TABLE: &str = "the lease table is created without it for now";
const OBJECT: &str = "Java objects cannot be written in a properties file; Samza ignores the key too";
const SINGLE_TABLE: &str = "only the lease table is used, in the format of KCL 1.x and 2.x";

static KEYS: &[Key] = &[
    Key::either("aws.kcl.TableName", Kind::Name, "the lease table in DynamoDB; change it to start again from InitialPositionInStream. Default: `<job.name>-<job.id>-<stream>`"),
    Key::either("aws.kcl.InitialPositionInStream", Kind::OneOf(&["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"]), "where a shard without a checkpoint starts").default("LATEST"),
    Key::either("aws.kcl.TimestampAtInitialPositionInStream", Kind::Timestamp, "the moment for AT_TIMESTAMP, which it implies: RFC 3339, or seconds or milliseconds since 1970"),
    Key::either("aws.kcl.WorkerId", Kind::Text, "name of this process in the lease table; it must be unique among the running ones. Default: application name and a random UUID, new at each start"),
    Key::either("aws.kcl.FailoverTimeMillis", TIME, "how long a lease lasts without renewal: a dead worker's shards move after it").default("10000"),
    Key::either("aws.kcl.MaxRecords", Kind::Int(1, 10_000), "records of one GetRecords call").default("10000"),
    Key::either("aws.kcl.IdleTimeBetweenReadsInMillis", TIME, "pause between reads of a shard that is caught up").default("1000"),
    Key::either("aws.kcl.ParentShardPollIntervalMillis", TIME, "how often a child shard asks whether its parents are done").default("10000"),
    Key::either("aws.kcl.ShardSyncIntervalMillis", TIME, "with ShardSyncStrategyType=PERIODIC: how often one of the workers lists the shards and creates the leases that are missing").default("60000"),
    Key::either("aws.kcl.MaxLeasesForWorker", COUNT, "shards that this process reads at most").default("2147483647"),
    Key::either("aws.kcl.MaxCacheByteSize", COUNT, "bytes of one shard that may wait between reader and task").default("8388608"),
    Key::either("aws.kcl.MaxRecordsCount", COUNT, "records of one shard that may wait between reader and task").default("30000"),
    Key::either("aws.kcl.KinesisEndpoint", Kind::Url, "address of Kinesis, for a local backend or a private endpoint. Otherwise `AWS_ENDPOINT_URL_KINESIS` or `AWS_ENDPOINT_URL` of the environment"),
    Key::either("aws.kcl.DynamoDBEndpoint", Kind::Url, "address of DynamoDB. Otherwise `AWS_ENDPOINT_URL_DYNAMODB` or `AWS_ENDPOINT_URL` of the environment"),
    Key::either("aws.kcl.RegionName", Kind::Text, "region, if `aws.region` is not set"),
    Key::either("aws.kcl.BillingMode", Kind::OneOf(&["PAY_PER_REQUEST", "PROVISIONED"]), "capacity of a lease table that has to be created; KCL 1.x defaults to PROVISIONED").default("PAY_PER_REQUEST"),
    Key::either("aws.kcl.InitialLeaseTableReadCapacity", COUNT, "read units with BillingMode=PROVISIONED").default("10"),
    Key::either("aws.kcl.InitialLeaseTableWriteCapacity", COUNT, "write units with BillingMode=PROVISIONED").default("10"),
    Key::either("aws.kcl.MaxLeasesToStealAtOneTime", COUNT, "leases taken from a worker that has too many, after one look at the lease table").default("1"),
    Key::either("aws.kcl.CleanupLeasesUponShardCompletion", Kind::Bool, "delete the leases of finished shards once their children were begun").default("true"),
    Key::either("aws.kcl.LeaseCleanupIntervalMillis", TIME, "lease cleanup").no_meaning(CLEANUP),
    Key::either("aws.kcl.CompletedLeaseCleanupThresholdMillis", TIME, "how often one of the workers deletes such leases, and how long they rest first").default("300000"),
    Key::either("aws.kcl.GarbageLeaseCleanupThresholdMillis", TIME, "how often one of the workers asks for leases whose shard has left the stream, and deletes them").default("1800000"),
    Key::either("aws.kcl.IgnoreUnexpectedChildShards", Kind::Bool, "when shards are listed with a parent that is still open: create no lease for them, instead of listing again until it is closed").default("false"),
    Key::either("aws.kcl.LeasesRecoveryAuditorExecutionFrequencyMillis", TIME, "how often one of the workers looks for hash keys that no lease covers").default("120000"),
    Key::either("aws.kcl.LeasesRecoveryAuditorInconsistencyConfidenceThreshold", COUNT, "looks in a row that must find the same gap before shards are listed and the missing leases created").default("3"),
    Key::either("aws.kcl.ShardSyncStrategyType", Kind::OneOf(&["SHARD_END", "PERIODIC"]), "when shards are listed after the start: for a gap in the leases only, or every ShardSyncIntervalMillis too").default("SHARD_END"),
    Key::either("aws.kcl.SkipShardSyncAtStartupIfLeasesExist", Kind::Bool, "no listing of shards at start").no_meaning("listing the shards costs one call at start"),
    Key::either("aws.kcl.SkipShardSyncAtWorkerInitializationIfLeasesExist", Kind::Bool, "no listing of shards at start").no_meaning("listing the shards costs one call at start"),
    Key::either("aws.kcl.CallProcessRecordsEvenForEmptyRecordList", Kind::Bool, "calls without records").no_meaning("a task is called with envelopes only"),
    Key::either("aws.kcl.ValidateSequenceNumberBeforeCheckpointing", Kind::Bool, "check before a checkpoint").no_meaning("checkpoints only ever come from positions that were read"),
    Key::either("aws.kcl.ShardPrioritizationStrategy", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::either("aws.kcl.CommonClientConfig", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::either("aws.kcl.KinesisClientConfig", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::either("aws.kcl.DynamoDBClientConfig", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::either("aws.kcl.CloudWatchClientConfig", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::either("aws.kcl.RecordsFetcherFactory", Kind::Any, "a Java object").no_meaning(OBJECT),
    Key::either("aws.kcl.UserAgent", Kind::Text, "user agent").no_meaning("the AWS SDK's own user agent is sent"),
    Key::either("aws.kcl.IdleMillisBetweenCalls", Kind::Millis(0), "pause between reads").no_meaning("IdleTimeBetweenReadsInMillis is the pause between reads"),
    Key::either("aws.kcl.MillisBehindLatestThresholdForReducedTps", Kind::Millis(0), "read more slowly when caught up").no_meaning("IdleTimeBetweenReadsInMillis is the pause of a shard that is caught up"),
    Key::either("aws.kcl.MaxPendingProcessRecordsInput", COUNT, "batches that may wait").no_meaning("what may wait is bounded by MaxCacheByteSize and MaxRecordsCount"),
    Key::either("aws.kcl.DataFetchingStrategy", Kind::OneOf(&["DEFAULT", "PREFETCH_CACHED"]), "reading ahead").no_meaning("shards are always read ahead, within MaxCacheByteSize and MaxRecordsCount"),
    Key::either("aws.kcl.TaskBackoffTimeMillis", TIME, "pause after a failed step").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.ListShardsBackoffTimeInMillis", TIME, "pause of ListShards").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.MaxListShardsRetryAttempts", COUNT, "attempts of ListShards").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.MaxInitializationAttempts", COUNT, "attempts at start").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.SchedulerInitializationBackoffTimeMillis", TIME, "pause at start").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.RetryGetRecordsInSeconds", COUNT, "retries of GetRecords").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.MaxGetRecordsThreadPool", COUNT, "threads of GetRecords").no_meaning(NO_THREADS),
    Key::either("aws.kcl.MaxLeaseRenewalThreads", COUNT, "threads of lease renewal").no_meaning(NO_THREADS),
    Key::either("aws.kcl.ShardConsumerDispatchPollIntervalMillis", TIME, "polling of consumers").no_meaning(NO_THREADS),
    Key::either("aws.kcl.ShutdownGraceMillis", Kind::Millis(0), "grace at stop").no_meaning("`task.shutdown.ms` is the time for a graceful stop"),
    Key::either("aws.kcl.LogWarningForTaskAfterMillis", TIME, "warning about slow tasks").no_meaning("`task.call.timeout.ms` bounds a call"),
    Key::either("aws.kcl.MetricsBufferTimeMillis", TIME, "CloudWatch").no_meaning(CLOUDWATCH),
    Key::either("aws.kcl.MetricsMaxQueueSize", COUNT, "CloudWatch").no_meaning(CLOUDWATCH),
    Key::either("aws.kcl.MetricsLevel", Kind::OneOf(&["NONE", "SUMMARY", "DETAILED"]), "CloudWatch").no_meaning(CLOUDWATCH),
    Key::either("aws.kcl.MetricsEnabledDimensions", Kind::Any, "CloudWatch").no_meaning(CLOUDWATCH),
    Key::either("aws.kcl.MetricsBackend", Kind::OneOf(&["CLOUDWATCH", "OTEL"]), "metrics").no_meaning(CLOUDWATCH),
    Key::either("aws.kcl.RetrievalMode", Kind::OneOf(&["POLLING", "FANOUT"]), "how shards are read: by GetRecords calls, or by enhanced fan-out, which brings records sooner and has its own price at AWS").default("POLLING"),
    Key::either("aws.kcl.ConsumerArn", Kind::Text, "with FANOUT, the consumer of the stream to read as; it must be registered"),
    Key::either("aws.kcl.ConsumerName", Kind::Name, "with FANOUT, the consumer to read as, registered if it is not; jobs that read one stream need different ones. Default: `<job.name>-<job.id>-<stream>`"),
    Key::either("aws.kcl.MaxDescribeStreamSummaryRetries", COUNT, "attempts of a call at start").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.MaxDescribeStreamConsumerRetries", COUNT, "attempts of a call at start").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.RegisterStreamConsumerRetries", COUNT, "attempts of a call at start").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.RetryBackoffMillis", TIME, "pause between these attempts").no_meaning(OWN_BACK_OFF),
    Key::either("aws.kcl.StreamArn", Kind::Text, "the stream by ARN").rejected("a stream is named in `task.inputs`; streams of another account cannot be read yet"),
    Key::either("aws.kcl.StreamName", Kind::Text, "the stream").rejected("the stream is named in `task.inputs`; remove the key"),
    Key::either("aws.kcl.ApplicationName", Kind::Text, "the KCL application").rejected("as in Samza it is always `<job.name>-<job.id>-<stream>`; set TableName to use the lease table of another application"),
    Key::either("aws.kcl.LeaseAssignmentStrategy", Kind::Text, "balancing of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.LeaseAssignmentIntervalMillis", TIME, "balancing of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.EnablePriorityLeaseAssignment", Kind::Bool, "balancing of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.WorkerUtilizationAwareAssignmentConfig.{rest}", Kind::Any, "balancing of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.GracefulLeaseHandoffConfig.{rest}", Kind::Any, "hand-over of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.DynamoDbLockBasedLeaderLeaseDurationInMillis", TIME, "leader lock of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.DynamoDbLockBasedLeaderHeartbeatPeriodInMillis", TIME, "leader lock of KCL 3.x").no_meaning(ASSIGNMENT),
    Key::either("aws.kcl.ClientVersionConfig", Kind::Text, "migration of KCL 3.x").no_meaning(SINGLE_TABLE),
    Key::either("aws.kcl.MigrateAllEntitiesToLeaseTable", Kind::Bool, "migration of KCL 3.5").no_meaning(SINGLE_TABLE),
    Key::either("aws.kcl.TableMigrationCompleteBakeTimeSeconds", Kind::Int(0, i32::MAX as i64), "migration of KCL 3.5").no_meaning(SINGLE_TABLE),
    Key::either("aws.kcl.StreamInfoMode", Kind::Text, "stream rows of KCL 3.5").no_meaning(SINGLE_TABLE),
    Key::either("aws.kcl.StreamIdOnboardingState", Kind::Text, "stream rows of KCL 3.5").no_meaning(SINGLE_TABLE),
    Key::either("aws.kcl.LeaseTablePitrEnabled", Kind::Bool, "backups of the lease table").not_yet(TABLE),
    Key::either("aws.kcl.LeaseTableDeletionProtectionEnabled", Kind::Bool, "deletion protection of the lease table").not_yet(TABLE),
    Key::either("aws.kcl.ConsistentReads", Kind::Bool, "strongly consistent reads of leases").not_yet("leases are read eventually consistent, as the KCL does by default"),
    Key::either("aws.kcl.LeaseTableScanTotalSegments", COUNT, "parallel scan of the lease table").no_meaning("the lease table is scanned page by page"),
];
