//! Bounds that several parts of the lease machine share.

use crate::backoff::Backoff;
use crate::time::Millis;

/// How often a start-up step that nobody but a person may mend is tried before the job fails (the Kinesis Client Library's
/// `maxInitializationAttempts`). A service that does not answer is waited for.
pub const START_ATTEMPTS_MAX: u32 = 20;
/// Renewals start this long before a third of the failover time has passed (the Kinesis Client Library's epsilon).
pub(super) const EPSILON: Millis = 25;
/// How old a scan of the table may be to create rows on: what lacked then may have lived and been cleaned up since.
pub(super) const VIEW_AGE_MAX: Millis = 10_000;
/// Waits between scans, listings, takes and creations that failed.
pub(super) const BACKOFF: Backoff = Backoff { first: 200, longest: 5_000 };
