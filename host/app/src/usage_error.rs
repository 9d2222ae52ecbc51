//! Tips for those who mistyped the command line: better ones than the parser's, which compares letters only.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// More mistakes than this in a word make another word.
const MISTAKES_MAX: usize = 3;

/// The same error with tips that help.
pub(crate) fn improved(mut error: Error) -> Error {
    let text = |value: Option<&ContextValue>| match value {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = text(error.get(ContextKind::InvalidSubcommand));
            let nearest = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(names)) => nearest(&typed, names),
                _ => return error,
            };
            match nearest {
                Some(name) => {
                    error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![name]));
                }
                None => drop(error.remove(ContextKind::SuggestedSubcommand)),
            }
        }
        ErrorKind::UnknownArgument => {
            let typed = text(error.get(ContextKind::InvalidArg));
            if typed.ends_with(".properties") {
                let tip = StyledStr::from(format!("a configuration is given by '--config-path {typed}'"));
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
            }
        }
        _ => {}
    }
    error
}

/// The one that takes the fewest mistakes to become what was typed.
fn nearest(typed: &str, names: &[String]) -> Option<String> {
    let mistakes = |name: &String| strsim::damerau_levenshtein(typed, name);
    names.iter().min_by_key(|name| mistakes(name)).filter(|name| mistakes(name) <= MISTAKES_MAX).cloned()
}
