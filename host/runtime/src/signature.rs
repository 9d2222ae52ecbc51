//! Writes types of a component in WIT's words, so that a mismatch can be shown as text. Named types have no names in a
//! component's type, so records and variants are written out.

use wasmtime::component::types::{ComponentFunc, Type};

/// The type of a function, as WIT writes it.
pub(crate) fn of_function(function: &ComponentFunc) -> String {
    let parameters: Vec<_> = function.params().map(|(name, ty)| format!("{name}: {}", of_type(&ty))).collect();
    let results: Vec<_> = function.results().map(|ty| format!(" -> {}", of_type(&ty))).collect();
    let effect = if function.async_() { "async func" } else { "func" };
    format!("{effect}({}){}", parameters.join(", "), results.concat())
}

fn of_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::S8 => "s8".into(),
        Type::U8 => "u8".into(),
        Type::S16 => "s16".into(),
        Type::U16 => "u16".into(),
        Type::S32 => "s32".into(),
        Type::U32 => "u32".into(),
        Type::S64 => "s64".into(),
        Type::U64 => "u64".into(),
        Type::Float32 => "f32".into(),
        Type::Float64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::List(list) => format!("list<{}>", of_type(&list.ty())),
        Type::Option(option) => format!("option<{}>", of_type(&option.ty())),
        Type::Tuple(tuple) => format!("tuple<{}>", joined(tuple.types().map(|ty| of_type(&ty)))),
        Type::Record(record) => {
            let fields = record.fields().map(|field| format!("{}: {}", field.name, of_type(&field.ty)));
            format!("record {{ {} }}", joined(fields))
        }
        Type::Variant(variant) => {
            let cases = variant.cases().map(|case| match case.ty {
                Some(ty) => format!("{}({})", case.name, of_type(&ty)),
                None => case.name.to_owned(),
            });
            format!("variant {{ {} }}", joined(cases))
        }
        Type::Enum(names) => format!("enum {{ {} }}", joined(names.names().map(str::to_owned))),
        Type::Flags(names) => format!("flags {{ {} }}", joined(names.names().map(str::to_owned))),
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => "result".into(),
            (Some(ok), None) => format!("result<{}>", of_type(&ok)),
            (ok, Some(err)) => {
                format!("result<{}, {}>", ok.map_or_else(|| "_".into(), |ok| of_type(&ok)), of_type(&err))
            }
        },
        // No function of the contract has them, so their kind is difference enough.
        Type::Map(_) => "map".into(),
        Type::Own(_) => "own".into(),
        Type::Borrow(_) => "borrow".into(),
        Type::Future(_) => "future".into(),
        Type::Stream(_) => "stream".into(),
        Type::ErrorContext => "error-context".into(),
        Type::FixedLengthList(_) => "fixed-length list".into(),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
