//! The parameters of a request, by name, with the type an operation expects.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Protocol, Value};
use crate::model::{Error, ErrorKind, Millis, check_name};

/// Digits that the service's model allows a hash key.
pub(crate) const HASH_KEY_DIGITS: usize = 39;
/// Likewise a sequence number.
pub(crate) const SEQUENCE_DIGITS: usize = 129;

type Field<'a> = (Cow<'a, str>, Value<'a>);

/// A structure of the request.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    protocol: Protocol,
    fields: Cow<'a, [Field<'a>]>,
}

impl<'a> Params<'a> {
    pub(crate) fn new(protocol: Protocol, fields: Vec<Field<'a>>) -> Self {
        Self { protocol, fields: Cow::Owned(fields) }
    }

    /// A field; null counts as absent.
    fn get(&self, name: &str) -> Option<&Value<'a>> {
        let field = self.fields.iter().find(|(key, _)| key == name)?;
        Some(&field.1).filter(|value| **value != Value::Null)
    }

    pub(crate) fn str(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "a string", other)),
        }
    }

    pub(crate) fn required_str(&self, name: &str) -> Result<&str, Error> {
        self.str(name)?.ok_or_else(|| Error::missing(&member(name)))
    }

    /// A number as decimal text, without a sign or leading zeros.
    pub(crate) fn decimal(&self, name: &str, digits_max: usize) -> Result<Option<&str>, Error> {
        let Some(text) = self.str(name)? else { return Ok(None) };
        let digits = (1..=digits_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits && (text == "0" || !text.starts_with('0')) {
            return Ok(Some(text));
        }
        let pattern = format!(r"Member must satisfy regular expression pattern: 0|([1-9]\d{{0,{}}})", digits_max - 1);
        Err(Error::constraint(&format!("'{text}'"), &member(name), &pattern))
    }

    /// A shard's id, which may be of no shard.
    pub(crate) fn required_shard(&self, name: &str) -> Result<&str, Error> {
        let shard = self.required_str(name)?;
        check_name(&member(name), shard)?;
        Ok(shard)
    }

    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(name, "a boolean", other)),
        }
    }

    /// A whole number; a negative one breaks the constraint of every parameter there is.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, Error> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::Int(number)) => *number,
            Some(Value::Float(number)) if number.fract() == 0.0 => *number as i64,
            Some(other) => return Err(wrong_type(name, "a whole number", other)),
        };
        u32::try_from(number).map(Some).map_err(|_| {
            let bound = if number < 0 { "greater than or equal to 1" } else { "less than or equal to 2147483647" };
            let value = format!("'{number}'");
            Error::constraint(&value, &member(name), &format!("Member must have value {bound}"))
        })
    }

    pub(crate) fn required_number(&self, name: &str) -> Result<u32, Error> {
        self.number(name)?.ok_or_else(|| Error::missing(&member(name)))
    }

    /// A time: seconds in JSON, milliseconds (tagged or not) or seconds in a float in CBOR.
    pub(crate) fn timestamp(&self, name: &str) -> Result<Option<Millis>, Error> {
        let millis = match (self.get(name), self.protocol) {
            (None, _) => return Ok(None),
            (Some(Value::Timestamp(millis)), _) => return Ok(Some(*millis)),
            (Some(Value::Int(seconds)), Protocol::Json) => seconds.saturating_mul(1000),
            (Some(Value::Int(millis)), Protocol::Cbor) => *millis,
            (Some(Value::Float(seconds)), _) => (seconds * 1000.0).round() as i64,
            (Some(other), _) => return Err(wrong_type(name, "a timestamp", other)),
        };
        Ok(Some(Millis::try_from(millis).unwrap_or(0)))
    }

    pub(crate) fn blob(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(Cow::Borrowed(bytes))),
            Some(Value::Str(text)) => STANDARD
                .decode(text.as_bytes())
                .map(|bytes| Some(Cow::Owned(bytes)))
                .map_err(|e| Error::new(ErrorKind::Serialization, format!("{name} is not base64: {e}"))),
            Some(other) => Err(wrong_type(name, "a blob", other)),
        }
    }

    /// A nested structure.
    pub(crate) fn structure(&self, name: &str) -> Result<Option<Params<'_>>, Error> {
        self.get(name).map(|value| self.nested(name, value)).transpose()
    }

    /// A list of structures.
    pub(crate) fn structures(&self, name: &str) -> Result<Vec<Params<'_>>, Error> {
        self.list(name)?.iter().map(|value| self.nested(name, value)).collect()
    }

    pub(crate) fn strings(&self, name: &str) -> Result<Vec<&str>, Error> {
        let mut texts = Vec::new();
        for value in self.list(name)? {
            match value {
                Value::Str(text) => texts.push(text.as_ref()),
                other => return Err(wrong_type(name, "a list of strings", other)),
            }
        }
        Ok(texts)
    }

    /// A map of strings.
    pub(crate) fn string_map(&self, name: &str) -> Result<Option<Vec<(&str, &str)>>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Map(fields)) => fields
                .iter()
                .map(|(key, value)| match value {
                    Value::Str(text) => Ok((key.as_ref(), text.as_ref())),
                    other => Err(wrong_type(name, "a map of strings", other)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(wrong_type(name, "a map", other)),
        }
    }

    fn list(&self, name: &str) -> Result<&[Value<'a>], Error> {
        match self.get(name) {
            Some(Value::List(items)) => Ok(items),
            None => Err(Error::missing(&member(name))),
            Some(other) => Err(wrong_type(name, "a list", other)),
        }
    }

    fn nested<'b>(&self, name: &str, value: &'b Value<'a>) -> Result<Params<'b>, Error> {
        match value {
            Value::Map(fields) => Ok(Params { protocol: self.protocol, fields: Cow::Borrowed(fields) }),
            other => Err(wrong_type(name, "a structure", other)),
        }
    }
}

/// The name of a parameter as messages have it: `StreamName` is `streamName`.
fn member(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

pub(super) fn wrong_type(what: &str, expected: &str, found: &Value<'_>) -> Error {
    Error::new(ErrorKind::Serialization, format!("{what} must be {expected}, found {}", found.kind()))
}
