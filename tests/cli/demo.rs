//! `shardmill demo`: the first thing that a newcomer runs.

use serde_json::{Value, json};
use shardmill_tests::guests::rust_guest;

use crate::shell::{directory, shardmill, shardmill_in};

#[test]
fn it_counts_the_words_of_a_text() {
    // Built by then, so that the demo does not have to.
    drop(rust_guest("word-count"));
    let dir = directory(&[("text.txt", b"to be or not to be\nthat is the question\n\nto be\n")]);
    let said = shardmill_in(&dir, &["demo", "--input", "text.txt"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let rows: Vec<Vec<&str>> = said.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [["3", "be"], ["3", "to"], ["1", "question"]] {
        assert!(rows.iter().any(|found| found[..] == row), "no row {row:?}:\n{}", said.stdout);
    }
    for shard in 0..4 {
        let shard = format!("shardId-00000000000{shard}");
        assert!(rows.iter().any(|row| row.first() == Some(&shard.as_str())), "no checkpoint:\n{}", said.stdout);
    }

    let said = shardmill_in(&dir, &["demo", "--input", "text.txt", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let counted = (&json["lines"], &json["words"], &json["distinct_words"], &json["top"][0]);
    assert_eq!(counted, (&json!(3), &json!(12), &json!(8), &json!({ "word": "be", "count": 3 })));
    let checkpoints = json["checkpoints"].as_object().unwrap().values().map(|at| at.as_str().unwrap());
    assert!(
        checkpoints.filter(|at| at.bytes().all(|b| b.is_ascii_digit())).count() > 0,
        "nothing is committed: {json}"
    );
}

#[test]
fn without_a_text_it_takes_its_own() {
    drop(rust_guest("word-count"));
    let said = shardmill(&["demo", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(json["words"].as_u64() > json["lines"].as_u64(), "{json}");
    assert_eq!(json["top"].as_array().unwrap().len(), 10);
}

#[test]
fn a_text_that_is_not_there_is_bad_input() {
    let said = shardmill_in(&directory(&[]), &["demo", "--input", "none.txt"]);
    assert_eq!(said.code, Some(64));
    insta::assert_snapshot!("demo_missing", said.stderr);
}
