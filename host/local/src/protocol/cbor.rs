//! AWS CBOR 1.1: what the Java SDKs speak to Kinesis.
//!
//! Reading takes definite and indefinite lengths, any tag (tag 1 is a timestamp: an integer counts milliseconds, a
//! float seconds) and numbers of any size. Writing is definite. Strings and blobs are borrowed from the input.

use std::borrow::Cow;

use super::{DEPTH_MAX, Value};
use crate::model::{Error, ErrorKind, Millis};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const INDEFINITE: u8 = 31;
const BREAK: u8 = 0xff;
const TAG_TIMESTAMP: u64 = 1;
/// Items reserved on a length's word alone.
const TRUSTED_LENGTH: usize = 512;

/// Reads one value that fills the input.
pub(crate) fn decode(input: &[u8]) -> Result<Value<'_>, Error> {
    let mut decoder = Decoder { input, at: 0 };
    let value = decoder.value(0)?;
    if decoder.at != input.len() {
        return Err(decoder.error("bytes after the request"));
    }
    Ok(value)
}

struct Decoder<'a> {
    input: &'a [u8],
    at: usize,
}

/// An item's head: its length or value, none if indefinite.
struct Head {
    major: u8,
    info: u8,
    argument: Option<u64>,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        if depth > DEPTH_MAX {
            return Err(self.error("nested too deeply"));
        }
        let head = self.head()?;
        match (head.major, head.argument) {
            (UNSIGNED, Some(n)) => Ok(Value::Int(i64::try_from(n).map_err(|_| self.error("number too large"))?)),
            (NEGATIVE, Some(n)) => {
                let n = i64::try_from(n).map_err(|_| self.error("number too small"))?;
                Ok(Value::Int(-1 - n))
            }
            (BYTES, length) => Ok(Value::Bytes(self.bytes(length)?)),
            (TEXT, length) => Ok(Value::Str(self.text(length)?)),
            (ARRAY, length) => self.list(length, depth),
            (MAP, length) => self.map(length, depth),
            (TAG, Some(tag)) => {
                let value = self.value(depth + 1)?;
                Ok(if tag == TAG_TIMESTAMP { timestamp(value) } else { value })
            }
            (7, argument) => self.simple(head.info, argument),
            _ => Err(self.error("malformed head")),
        }
    }

    fn simple(&self, info: u8, argument: Option<u64>) -> Result<Value<'a>, Error> {
        Ok(match (info, argument) {
            (20, _) => Value::Bool(false),
            (21, _) => Value::Bool(true),
            (22 | 23, _) => Value::Null,
            (25, Some(bits)) => Value::Float(half(bits as u16)),
            (26, Some(bits)) => Value::Float(f32::from_bits(bits as u32).into()),
            (27, Some(bits)) => Value::Float(f64::from_bits(bits)),
            _ => return Err(self.error("unknown simple value")),
        })
    }

    fn list(&mut self, length: Option<u64>, depth: usize) -> Result<Value<'a>, Error> {
        let mut items = Vec::with_capacity(reserve(length));
        while self.more(length, items.len())? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, length: Option<u64>, depth: usize) -> Result<Value<'a>, Error> {
        let mut fields = Vec::with_capacity(reserve(length));
        while self.more(length, fields.len())? {
            let head = self.head()?;
            if head.major != TEXT {
                return Err(self.error("a key that is no string"));
            }
            let key = self.text(head.argument)?;
            fields.push((key, self.value(depth + 1)?));
        }
        Ok(Value::Map(fields))
    }

    /// Whether a collection goes on; takes the break of an indefinite one.
    fn more(&mut self, length: Option<u64>, read: usize) -> Result<bool, Error> {
        if let Some(length) = length {
            return Ok((read as u64) < length);
        }
        match self.input.get(self.at) {
            None => Err(self.error("ends in a collection")),
            Some(&BREAK) => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
        }
    }

    fn text(&mut self, length: Option<u64>) -> Result<Cow<'a, str>, Error> {
        let text = match self.chunks(TEXT, length)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        };
        text.ok_or_else(|| self.error("a string that is not UTF-8"))
    }

    fn bytes(&mut self, length: Option<u64>) -> Result<Cow<'a, [u8]>, Error> {
        self.chunks(BYTES, length)
    }

    /// A string of bytes; an indefinite one comes in definite pieces.
    fn chunks(&mut self, major: u8, length: Option<u64>) -> Result<Cow<'a, [u8]>, Error> {
        if let Some(length) = length {
            return self.take(length).map(Cow::Borrowed);
        }
        let mut all = Vec::new();
        while self.more(None, 0)? {
            let head = self.head()?;
            match head.argument {
                Some(length) if head.major == major => all.extend_from_slice(self.take(length)?),
                _ => return Err(self.error("a malformed piece of a string")),
            }
        }
        Ok(Cow::Owned(all))
    }

    fn head(&mut self) -> Result<Head, Error> {
        let initial = self.take(1)?[0];
        let info = initial & 0x1f;
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
            }
            INDEFINITE => None,
            _ => return Err(self.error("reserved length")),
        };
        Ok(Head { major: initial >> 5, info, argument })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let rest = &self.input[self.at..];
        let taken = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        let taken = taken.ok_or_else(|| self.error("ends too early"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn error(&self, what: &str) -> Error {
        Error::new(ErrorKind::Serialization, format!("not CBOR at byte {}: {what}", self.at))
    }
}

fn reserve(length: Option<u64>) -> usize {
    length.map_or(0, |n| usize::try_from(n).unwrap_or(TRUSTED_LENGTH).min(TRUSTED_LENGTH))
}

fn timestamp(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Int(millis) => Value::Timestamp(Millis::try_from(millis).unwrap_or(0)),
        Value::Float(seconds) => Value::Timestamp((seconds * 1000.0) as Millis),
        other => other,
    }
}

fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Writes a value.
pub(crate) fn encode(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(value) => out.push(0xf4 + u8::from(*value)),
        Value::Int(n) if *n < 0 => head(out, NEGATIVE, (-1 - n) as u64),
        Value::Int(n) => head(out, UNSIGNED, *n as u64),
        Value::Float(value) => {
            out.push(0xfb);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        Value::Timestamp(millis) => {
            head(out, TAG, TAG_TIMESTAMP);
            head(out, UNSIGNED, *millis);
        }
        Value::Str(value) => text(out, value),
        Value::Bytes(value) => {
            head(out, BYTES, value.len() as u64);
            out.extend_from_slice(value);
        }
        Value::List(items) => {
            array(out, items.len());
            items.iter().for_each(|item| encode(out, item));
        }
        Value::Map(fields) => {
            map(out, fields.len());
            for (key, value) in fields {
                text(out, key);
                encode(out, value);
            }
        }
    }
}

/// Writes a string.
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    head(out, TEXT, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// Opens a list of `length` values.
pub(crate) fn array(out: &mut Vec<u8>, length: usize) {
    head(out, ARRAY, length as u64);
}

/// Opens a map of `length` pairs.
pub(crate) fn map(out: &mut Vec<u8>, length: usize) {
    head(out, MAP, length as u64);
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        n @ 0..=23 => out.push(major | n as u8),
        n @ 24..=0xff => out.extend_from_slice(&[major | 24, n as u8]),
        n @ 0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n @ 0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
        n => {
            out.push(major | 27);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}
