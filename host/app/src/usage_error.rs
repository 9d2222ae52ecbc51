//! Better tips for a mistyped command line than the parser's, which only compares letters.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// A word with more typing errors than this is another word.
const MISTAKES_MAX: usize = 3;

/// The same error with better tips.
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
                let tip = StyledStr::from(format!("pass a configuration with '--config-path {typed}'"));
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
            }
        }
        _ => {}
    }
    error
}

/// The name that is closest to the typed word.
fn nearest(typed: &str, names: &[String]) -> Option<String> {
    let mistakes = |name: &String| strsim::damerau_levenshtein(typed, name);
    names.iter().min_by_key(|name| mistakes(name)).filter(|name| mistakes(name) <= MISTAKES_MAX).cloned()
}
