//! What was probably meant: the known key nearest to an unknown one, the known name nearest to another.

use crate::config::keys::{self, Disposition, Key};
use crate::config::secret::SENSITIVE;

/// The longest text that is compared: its length times that of the other is what a comparison costs.
const COMPARED_BYTES_MAX: usize = 256;

/// Letters that an end of a name must have to mean it.
const SHORTEST_END: usize = 4;

/// The nearest known key, with the user's own system and stream in it, or nothing when nothing is near.
pub(super) fn nearest_key(unknown: &str) -> Option<String> {
    let written: Vec<&str> = unknown.split('.').collect();
    // What works is told first: of equally near keys the first is taken.
    let (works, others): (Vec<&Key>, Vec<&Key>) = keys::all().partition(|key| key.disposition == Disposition::Works);
    let patterns: Vec<String> = works.into_iter().chain(others).flat_map(Key::patterns).collect();
    let known = || patterns.iter().filter_map(|pattern| fill(pattern, &written));
    let near = known().filter_map(|key| distance_of_ends(unknown, &key).map(|distance| (distance, key)));
    if let Some((_, key)) = near.min_by_key(|(distance, _)| *distance) {
        return Some(key);
    }
    // The right name in the wrong place, such as a client setting among those of the KCL.
    let last = written.last()?;
    let misplaced = known().find(|key| last_segment(key).eq_ignore_ascii_case(last));
    misplaced.or_else(|| known().find(|key| is_end_of(unknown, key)))
}

fn last_segment(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

/// Whether only the beginning of the last name is missing: `Gzip` of `UseGzip`.
fn is_end_of(unknown: &str, known: &str) -> bool {
    let (short, long) = (last_segment(unknown), last_segment(known));
    let same_place = unknown.strip_suffix(short) == known.strip_suffix(long);
    same_place && short.len() >= SHORTEST_END && long.to_lowercase().ends_with(&short.to_lowercase())
}

/// The nearest of `names`, or nothing when none is near.
pub(in crate::config) fn nearest_name<'a>(unknown: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = names.filter_map(|name| near_enough(unknown, name).map(|distance| (distance, name)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name.to_owned())
}

/// The pattern with what the user wrote in the places of its placeholders. A pattern that ends in one is a family, and
/// everything is near to it: none, unless the family is one of names that users give.
fn fill(pattern: &str, written: &[&str]) -> Option<String> {
    if pattern.ends_with('}') && !pattern.ends_with(".{name}") {
        return None;
    }
    // With the prefix on one side only, the user's segments stand one place off the pattern's.
    let prefix = SENSITIVE.trim_end_matches('.');
    let own = usize::from(written.first().is_some_and(|first| near_enough(first, prefix).is_some()));
    let masked = usize::from(pattern.starts_with(SENSITIVE));
    let segments = pattern.split('.').enumerate().map(|(at, segment)| {
        if !segment.starts_with('{') {
            return Some(segment);
        }
        (at + own).checked_sub(masked).and_then(|at| written.get(at)).copied().filter(|own| !own.is_empty())
    });
    segments.collect::<Option<Vec<_>>>().map(|segments| segments.join("."))
}

/// Distance of two keys without the segments that they begin with together: those would make any two long keys near.
fn distance_of_ends(unknown: &str, known: &str) -> Option<usize> {
    let most = unknown.matches('.').count().min(known.matches('.').count());
    let common = unknown.split('.').zip(known.split('.')).take(most).take_while(|(a, b)| a == b);
    let length: usize = common.map(|(segment, _)| segment.len() + 1).sum();
    near_enough(unknown.get(length..)?, known.get(length..)?)
}

/// The number of slips between two texts, if it is small for their length; the case of letters is no slip.
fn near_enough(a: &str, b: &str) -> Option<usize> {
    if a.len().max(b.len()) > COMPARED_BYTES_MAX {
        return None;
    }
    let distance = strsim::osa_distance(&a.to_lowercase(), &b.to_lowercase());
    (distance <= (a.len().max(b.len()) / 3).max(1)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::nearest_key;

    #[test]
    fn slips_find_their_key() {
        for (slip, meant) in [
            ("job.nmae", "job.name"),
            ("task.comit.ms", "task.commit.ms"),
            ("task.commit", "task.commit.ms"),
            ("task.input", "task.inputs"),
            ("system.k.samza.factory", "systems.k.samza.factory"),
            ("systems.k.stream.orders.aws.region", "systems.k.streams.orders.aws.region"),
            ("systems.k.streams.orders.aws.regoin", "systems.k.streams.orders.aws.region"),
            ("systems.k.streams.orders.aws.kcl.tableName", "systems.k.streams.orders.aws.kcl.TableName"),
            ("systems.k.aws.kcl.MaxRecord", "systems.k.aws.kcl.MaxRecords"),
            ("systems.k.streams.s.aws.clientConfig.SocketTimeout", "systems.k.aws.clientConfig.SocketTimeout"),
            ("systems.k.aws.kcl.ConnectionTimeout", "systems.k.aws.clientConfig.ConnectionTimeout"),
            ("sensitve.systems.k.streams.s.aws.secretKey", "sensitive.systems.k.streams.s.aws.secretKey"),
            ("sensitive.systems.k.streams.s.aws.secretkey", "sensitive.systems.k.streams.s.aws.secretKey"),
            ("sensitive.systems.k.streams.s.aws.accessKey", "systems.k.streams.s.aws.accessKey"),
            ("systems.k.aws.clientConfig.Gzip", "systems.k.aws.clientConfig.UseGzip"),
            ("systems.k.aws.clientConfig.Header.X-Team", "systems.k.aws.clientConfig.Headers.X-Team"),
            ("task.confg.greeting", "task.config.greeting"),
            ("systems.k.streams.s.aws.externalID", "systems.k.streams.s.aws.externalId"),
            ("systems.k.aws.dynamoDb.region", "systems.k.aws.dynamodb.region"),
        ] {
            assert_eq!(nearest_key(slip).as_deref(), Some(meant), "{slip}");
        }
    }

    #[test]
    fn far_keys_find_nothing() {
        for far in ["The", "systems.k.aws.kcl.Zzzzzzzzz", "logging.level", "x"] {
            assert_eq!(nearest_key(far), None, "{far}");
        }
    }
}
