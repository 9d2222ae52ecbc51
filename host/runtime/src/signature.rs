//! Compares the type of a component's function with the contract's, and prints both in WIT's syntax.
//!
//! A foreign type is a tree with shared branches, so a few kilobytes can describe a tree of a million nodes with names of
//! a hundred thousand bytes each. Therefore the comparison follows the contract's type, which is small, and never goes
//! deeper; and the printed text ends at [`TEXT_MAX_BYTES`].

use std::fmt::{self, Write};

use wasmtime::component::types::{ComponentFunc, Type};

use crate::contract::{Function, Ty};

/// How many bytes of a foreign type are printed: many times the size of the contract's types.
const TEXT_MAX_BYTES: usize = 1024;

/// Whether a component's function has this type.
pub(crate) fn matches(expected: &Function, found: &ComponentFunc) -> bool {
    let mut parameters = found.params();
    let same = |(name, ty): &(&str, Ty)| {
        parameters.next().is_some_and(|(found_name, found)| found_name == *name && is(ty, &found))
    };
    if found.async_() || !expected.parameters.iter().all(same) || parameters.next().is_some() {
        return false;
    }
    let mut results = found.results();
    results.next().is_some_and(|found| is(&expected.result, &found)) && results.next().is_none()
}

fn is(expected: &Ty, found: &Type) -> bool {
    match (expected, found) {
        (Ty::U8, Type::U8) | (Ty::U32, Type::U32) | (Ty::U64, Type::U64) | (Ty::String, Type::String) => true,
        (Ty::List(of), Type::List(list)) => is(of, &list.ty()),
        (Ty::Option(of), Type::Option(option)) => is(of, &option.ty()),
        (Ty::Record(fields), Type::Record(record)) => {
            let found = record.fields();
            found.len() == fields.len()
                && found.zip(*fields).all(|(found, (name, ty))| found.name == *name && is(ty, &found.ty))
        }
        (Ty::Variant(cases), Type::Variant(variant)) => {
            let found = variant.cases();
            found.len() == cases.len()
                && found.zip(*cases).all(|(found, (name, ty))| {
                    found.name == *name
                        && match (ty, &found.ty) {
                            (Some(ty), Some(found)) => is(ty, found),
                            (None, None) => true,
                            _ => false,
                        }
                })
        }
        (Ty::Failure(of), Type::Result(result)) => {
            result.ok().is_none() && result.err().is_some_and(|found| is(of, &found))
        }
        _ => false,
    }
}

/// The type of a component's function in WIT's syntax, truncated to a bounded length.
pub(crate) fn shown(function: &ComponentFunc) -> String {
    let mut text = Bounded(String::new());
    if write_function(&mut text, function).is_err() {
        text.0.push_str("...");
    }
    text.0
}

/// A text with a maximum length; a write beyond it fails, so that the writer stops.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = TEXT_MAX_BYTES - self.0.len();
        self.0.push_str(&more[..more.floor_char_boundary(room)]);
        if more.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

fn write_function(text: &mut Bounded, function: &ComponentFunc) -> fmt::Result {
    text.write_str(if function.async_() { "async func(" } else { "func(" })?;
    separated(text, function.params(), |text, (name, ty)| {
        write!(text, "{name}: ")?;
        write_type(text, &ty)
    })?;
    text.write_str(")")?;
    for result in function.results() {
        text.write_str(" -> ")?;
        write_type(text, &result)?;
    }
    Ok(())
}

/// Every call writes something, so the limit of the text also bounds the time and the depth.
fn write_type(text: &mut Bounded, ty: &Type) -> fmt::Result {
    match ty {
        Type::List(list) => enclosed(text, "list<", ">", |text| write_type(text, &list.ty())),
        Type::Option(option) => enclosed(text, "option<", ">", |text| write_type(text, &option.ty())),
        Type::Tuple(tuple) => {
            enclosed(text, "tuple<", ">", |text| separated(text, tuple.types(), |text, ty| write_type(text, &ty)))
        }
        Type::Record(record) => enclosed(text, "record { ", " }", |text| {
            separated(text, record.fields(), |text, field| {
                write!(text, "{}: ", field.name)?;
                write_type(text, &field.ty)
            })
        }),
        Type::Variant(variant) => enclosed(text, "variant { ", " }", |text| {
            separated(text, variant.cases(), |text, case| {
                text.write_str(case.name)?;
                case.ty.map_or(Ok(()), |ty| enclosed(text, "(", ")", |text| write_type(text, &ty)))
            })
        }),
        Type::Enum(names) => {
            enclosed(text, "enum { ", " }", |text| separated(text, names.names(), |text, name| text.write_str(name)))
        }
        Type::Flags(names) => {
            enclosed(text, "flags { ", " }", |text| separated(text, names.names(), |text, name| text.write_str(name)))
        }
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => text.write_str("result"),
            (Some(ok), None) => enclosed(text, "result<", ">", |text| write_type(text, &ok)),
            (ok, Some(err)) => enclosed(text, "result<", ">", |text| {
                match ok {
                    Some(ok) => write_type(text, &ok)?,
                    None => text.write_str("_")?,
                }
                text.write_str(", ")?;
                write_type(text, &err)
            }),
        },
        plain => text.write_str(plain_name(plain)),
    }
}

fn plain_name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        // No function of the contract has these types, so naming their kind is enough.
        Type::Map(_) => "map",
        Type::Own(_) => "own",
        Type::Borrow(_) => "borrow",
        Type::Future(_) => "future",
        Type::Stream(_) => "stream",
        Type::ErrorContext => "error-context",
        Type::FixedLengthList(_) => "fixed-length list",
        _ => "another type",
    }
}

fn enclosed(
    text: &mut Bounded,
    before: &str,
    after: &str,
    inner: impl FnOnce(&mut Bounded) -> fmt::Result,
) -> fmt::Result {
    text.write_str(before)?;
    inner(text)?;
    text.write_str(after)
}

fn separated<T>(
    text: &mut Bounded,
    parts: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Bounded, T) -> fmt::Result,
) -> fmt::Result {
    for (index, part) in parts.enumerate() {
        if index > 0 {
            text.write_str(", ")?;
        }
        write(text, part)?;
    }
    Ok(())
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func(")?;
        list(f, self.parameters.iter().map(|(name, ty)| (*name, ": ", Some(ty), "")))?;
        write!(f, ") -> {}", self.result)
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8 => f.write_str("u8"),
            Self::U32 => f.write_str("u32"),
            Self::U64 => f.write_str("u64"),
            Self::String => f.write_str("string"),
            Self::List(of) => write!(f, "list<{of}>"),
            Self::Option(of) => write!(f, "option<{of}>"),
            Self::Record(fields) => {
                f.write_str("record { ")?;
                list(f, fields.iter().map(|(name, ty)| (*name, ": ", Some(ty), "")))?;
                f.write_str(" }")
            }
            Self::Variant(cases) => {
                f.write_str("variant { ")?;
                list(f, cases.iter().map(|(name, ty)| (*name, "(", ty.as_ref(), ")")))?;
                f.write_str(" }")
            }
            Self::Failure(of) => write!(f, "result<_, {of}>"),
        }
    }
}

/// Names with their types: before each type and after it.
fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    parts: impl Iterator<Item = (&'static str, &'static str, Option<&'a Ty>, &'static str)>,
) -> fmt::Result {
    for (index, (name, before, ty, after)) in parts.enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        f.write_str(name)?;
        if let Some(ty) = ty {
            write!(f, "{before}{ty}{after}")?;
        }
    }
    Ok(())
}
