//! The table of keys as a tree of their segments: finding a key takes time in proportion to its own length, whatever
//! the table holds and whatever is written.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Hit, Key};

pub(super) struct Index {
    /// The first is the root.
    nodes: Vec<Node>,
}

/// A beginning of keys, up to a dot.
#[derive(Default)]
struct Node {
    literals: BTreeMap<String, usize>,
    /// A segment of the user's own.
    one: Option<(Own, usize)>,
    /// One or more segments of the user's own; what stands behind them decides where they end.
    many: Option<(Own, usize)>,
    /// The key that ends here.
    exact: Option<&'static Key>,
    /// The keys that have any end from here on.
    family: Option<&'static Key>,
}

/// What a part of the user's own names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    System,
    Stream,
    Job,
    Other,
}

impl Index {
    pub(super) fn new(keys: impl Iterator<Item = &'static Key>) -> Self {
        let mut index = Self { nodes: vec![Node::default()] };
        for key in keys {
            key.patterns().iter().for_each(|pattern| index.insert(pattern, key));
        }
        index
    }

    fn insert(&mut self, pattern: &str, key: &'static Key) {
        let mut node = 0;
        for segment in pattern.split('.') {
            let free = self.nodes.len();
            let at = &mut self.nodes[node];
            node = match segment {
                "{rest}" | "{name}" => {
                    at.family.get_or_insert(key);
                    return;
                }
                "{system}" => at.one.get_or_insert((Own::System, free)).1,
                "{id}" | "{store}" => at.one.get_or_insert((Own::Other, free)).1,
                "{stream}" => at.many.get_or_insert((Own::Stream, free)).1,
                "{job}" => at.many.get_or_insert((Own::Job, free)).1,
                literal => *at.literals.entry(literal.to_owned()).or_insert(free),
            };
            if node == free {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[node].exact.get_or_insert(key);
    }

    pub(super) fn find(&self, text: &str) -> Option<Hit> {
        self.search(text).0
    }

    /// What is found, and in how many steps.
    fn search(&self, text: &str) -> (Option<Hit>, usize) {
        let segments: Vec<&str> = text.split('.').collect();
        let mut search = Search { nodes: &self.nodes, segments: &segments, own: Vec::new(), steps: 0 };
        let hit = match search.exact(0, 0) {
            Some(key) => Some((key, None)),
            None => search.family(0, 0).map(|(key, rest)| (key, Some(rest))),
        };
        let text_of = |range: Range<usize>| segments[range].join(".");
        let hit = hit.map(|(key, rest)| {
            let mut hit = Hit { key, system: None, stream: None, job: None, rest: None };
            hit.rest = rest.map(|rest| text_of(rest..segments.len()));
            for (own, range) in &search.own {
                match own {
                    Own::System => hit.system = Some(text_of(range.clone())),
                    Own::Stream => hit.stream = Some(text_of(range.clone())),
                    Own::Job => hit.job = Some(text_of(range.clone())),
                    Own::Other => {}
                }
            }
            hit
        });
        (hit, search.steps)
    }

    pub(super) fn known_beginning(&self, text: &str) -> usize {
        let (mut node, mut bytes) = (&self.nodes[0], 0);
        for segment in text.split('.') {
            let own = node.one.or(node.many).filter(|_| !segment.is_empty());
            let Some(next) = node.literals.get(segment).copied().or(own.map(|(_, next)| next)) else { break };
            bytes += segment.len() + 1;
            node = &self.nodes[next];
        }
        bytes.min(text.len())
    }
}

struct Search<'a> {
    nodes: &'a [Node],
    segments: &'a [&'a str],
    /// What the user's own parts of the key are, once it is found.
    own: Vec<(Own, Range<usize>)>,
    steps: usize,
}

impl Search<'_> {
    fn exact(&mut self, node: usize, at: usize) -> Option<&'static Key> {
        self.steps += 1;
        let node = &self.nodes[node];
        let Some(segment) = self.segments.get(at) else { return node.exact };
        if let Some(next) = node.literals.get(*segment)
            && let Some(key) = self.exact(*next, at + 1)
        {
            return Some(key);
        }
        let ends = node.one.map(|(own, next)| (own, next, at + 1)).into_iter();
        let all = self.segments.len();
        let ends =
            ends.chain(node.many.into_iter().flat_map(|(own, next)| (at + 1..all).map(move |end| (own, next, end))));
        for (own, next, end) in ends {
            let is_empty = end == at + 1 && segment.is_empty();
            if !is_empty && let Some(key) = self.exact(next, end) {
                self.own.push((own, at..end));
                return Some(key);
            }
        }
        None
    }

    /// The family with the longest beginning, and where what is left to it starts.
    fn family(&mut self, node: usize, at: usize) -> Option<(&'static Key, usize)> {
        self.steps += 1;
        let node = &self.nodes[node];
        let segment = self.segments.get(at)?;
        if let Some(next) = node.literals.get(*segment)
            && let Some(found) = self.family(*next, at + 1)
        {
            return Some(found);
        }
        // Of several segments nobody could say where they end.
        for (own, next) in node.one.into_iter().chain(node.many).filter(|_| !segment.is_empty()) {
            if let Some(found) = self.family(next, at + 1) {
                self.own.push((own, at..at + 1));
                return Some(found);
            }
        }
        let is_something = !segment.is_empty() || at + 1 < self.segments.len();
        node.family.filter(|_| is_something).map(|key| (key, at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::INDEX;
    use proptest::prelude::*;

    /// More than the deepest pattern is long, for each of the two ways to look.
    const STEPS_FOR_A_SEGMENT: usize = 32;

    fn assert_linear(text: &str) {
        let (_, steps) = INDEX.search(text);
        let segments = text.split('.').count();
        assert!(steps <= STEPS_FOR_A_SEGMENT * (segments + 1), "{steps} steps for the {segments} segments of {text}");
    }

    #[test]
    fn finding_takes_steps_in_proportion_to_the_segments() {
        for (begin, again, end) in [
            ("systems.k.streams", ".aws.kcl", ".TableName"),
            ("systems.k.streams", ".a", ""),
            ("sensitive.systems.k.streams", ".streams.aws", ".secretKey"),
            ("host.jobs", ".allow.task.grant", ".dir"),
            ("streams", ".samza", ""),
            ("", ".", ""),
        ] {
            for times in [0, 1, 10, 1_000] {
                assert_linear(&format!("{begin}{}{end}", again.repeat(times)));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_looked_up_in_linear_steps(text in "(systems|sensitive|streams|aws|kcl|a|host|jobs|allow|samza|\\.){0,40}") {
            assert_linear(&text);
        }
    }
}
