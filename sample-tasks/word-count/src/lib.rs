//! Counts the words of each message. For every distinct word one message leaves: the word as key, and a JSON object such
//! as `{"word":"the","count":2}`.
//!
//! Configuration: `output`, where the counts go; `console.word-counts` unless set.

use std::cell::Cell;
use std::collections::BTreeMap;

use exports::shardmill::task::{lifecycle, processor};
use shardmill::task::{collector, config};

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    // The world of this task: the plain one, and `init`.
    inline: "
        package samples:word-count;
        world word-count {
            include shardmill:task/task@0.1.0;
            export shardmill:task/lifecycle@0.1.0;
        }
    ",
    world: "samples:word-count/word-count",
    generate_all,
});

struct WordCount;

export!(WordCount);

thread_local! {
    /// Where the counts go.
    static OUTPUT: Cell<u32> = const { Cell::new(0) };
}

impl lifecycle::Guest for WordCount {
    fn init() -> Result<(), String> {
        let name = config::get("output").unwrap_or_else(|| "console.word-counts".to_owned());
        let output = collector::output(&name).map_err(|error| format!("no output `{name}`: {error:?}"))?;
        OUTPUT.set(output);
        Ok(())
    }

    fn before_stop() -> Result<(), String> {
        Ok(())
    }
}

impl processor::Guest for WordCount {
    fn process(envelope: processor::Envelope) -> Result<(), processor::TaskError> {
        let text = str::from_utf8(&envelope.message)
            .map_err(|error| processor::TaskError::Reject(format!("the message is not UTF-8: {error}")))?;
        let mut counts = BTreeMap::<&str, u32>::new();
        for word in text.split_whitespace() {
            *counts.entry(word).or_default() += 1;
        }
        for (word, count) in counts {
            let message = format!(r#"{{"word":{},"count":{count}}}"#, json_string(word));
            collector::send(OUTPUT.get(), Some(word), message.as_bytes())
                .map_err(|error| processor::TaskError::Other(format!("cannot send the count: {error:?}")))?;
        }
        Ok(())
    }
}

/// A JSON string. A word has no white space, but it may have quotes, backslashes and control characters.
fn json_string(word: &str) -> String {
    let mut json = String::with_capacity(word.len() + 2);
    json.push('"');
    for character in word.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", control as u32)),
            character => json.push(character),
        }
    }
    json.push('"');
    json
}
