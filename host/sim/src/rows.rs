//! What a conditional write to a lease table does to a row, as DynamoDB carries it out. The lease machine's own tests
//! include this file.

use shardmill_core::leases::{Lease, Write};
use shardmill_core::position::Checkpoint;

/// What a write leaves of a row (absent when it deletes it); `None` when its condition does not hold.
#[must_use]
pub fn written(before: Option<&Lease>, write: &Write) -> Option<Option<Lease>> {
    let Some(row) = before else {
        return match write {
            Write::Create(lease) | Write::Restore(lease) => Some(Some(lease.clone())),
            _ => None,
        };
    };
    let holds = match write {
        Write::Create(_) | Write::Restore(_) => false,
        Write::Renew { owner, counter, .. } | Write::Checkpoint { owner, counter, .. } => {
            row.counter == *counter && [&row.owner, &row.checkpoint_owner].contains(&&Some(owner.clone()))
        }
        Write::Take { seen, .. } => row.counter == seen.counter,
        Write::Evict { owner, .. } => row.owner.as_ref() == Some(owner),
        Write::Children { .. } => true,
        Write::HashRange { .. } => row.hash_range.is_none(),
        Write::Delete { counter, .. } => row.counter == *counter && row.checkpoint == Checkpoint::ShardEnd,
    };
    if !holds {
        return None;
    }
    let mut row = row.clone();
    match write {
        Write::Create(_) | Write::Restore(_) | Write::Renew { .. } => {}
        Write::Take { seen, worker } => {
            let is_switch = seen.owner.as_ref().is_some_and(|owner| owner != worker);
            row.owner_switches = row.owner_switches.saturating_add(u64::from(is_switch));
            row.owner = Some(worker.clone());
            row.checkpoint_owner = None;
            row.latest_since = row.latest_since.or(seen.latest_since);
        }
        Write::Evict { .. } => row.owner = None,
        Write::Checkpoint { checkpoint, .. } => {
            row.checkpoint = checkpoint.clone();
            row.owner_switches = 0;
            row.latest_since = None;
        }
        Write::Children { children, .. } => row.children.clone_from(children),
        Write::HashRange { range, .. } => row.hash_range = Some(range.clone()),
        Write::Delete { .. } => return Some(None),
    }
    row.counter += u64::from(!matches!(write, Write::Children { .. } | Write::HashRange { .. }));
    Some(Some(row))
}
