//! Reads CBOR (RFC 8949) as borrowed slices, and writes the parts that requests need. Owns the encoding and checks every
//! bound; knows nothing of Kinesis.

use std::borrow::Cow;

/// How deep an unknown value may nest.
const MAX_DEPTH: u32 = 32;

const BREAK: u8 = 0xff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    Array,
    Map,
    Tag,
    /// Floats, booleans, null and the break.
    Simple,
}

/// Malformed or unexpected bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it ends at byte {at}, inside a value")]
    Truncated { at: usize },
    #[error("expected {expected} at byte {at}, found {found:#04x}")]
    Unexpected { at: usize, expected: &'static str, found: u8 },
    #[error("values nest deeper than {MAX_DEPTH} at byte {at}")]
    TooDeep { at: usize },
}

/// A number of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

/// The rest of an array or a map that is being read.
pub(super) struct Items {
    /// `None` when it ends with a break.
    left: Option<u64>,
}

impl Items {
    /// The announced number of items, if there is one. Untrusted.
    pub(super) fn announced(&self) -> Option<u64> {
        self.left
    }
}

/// A position in a buffer. After an error it is somewhere inside the value that caused it.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Enters a map; [`Cursor::next`] counts its entries, of which each is a key and a value.
    pub(super) fn map(&mut self) -> Result<Items, Error> {
        self.container(Major::Map, "a map")
    }

    /// Enters an array; [`Cursor::next`] counts its elements.
    pub(super) fn array(&mut self) -> Result<Items, Error> {
        self.container(Major::Array, "an array")
    }

    /// Whether another item follows; consumes the break after the last one.
    pub(super) fn next(&mut self, items: &mut Items) -> Result<bool, Error> {
        match &mut items.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.peek()? == BREAK => {
                self.at += 1;
                items.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// A text string; borrowed unless it comes in chunks. That it is UTF-8 is not checked.
    pub(super) fn text(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        self.string(Major::Text, "a text string")
    }

    /// A byte string; borrowed unless it comes in chunks.
    pub(super) fn bytes(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        self.string(Major::Bytes, "a byte string")
    }

    /// An integer or a float of any width, after any tags.
    pub(super) fn number(&mut self) -> Result<Number, Error> {
        self.skip_tags()?;
        let at = self.at;
        let (major, info) = self.initial()?;
        match major {
            // No number that is read here comes near 2^63.
            Major::Unsigned => Ok(Number::Integer(i64::try_from(self.argument(at, info)?).unwrap_or(i64::MAX))),
            Major::Negative => {
                let argument = i64::try_from(self.argument(at, info)?).unwrap_or(i64::MAX);
                Ok(Number::Integer(-1 - argument))
            }
            Major::Simple => match info {
                25 => Ok(Number::Float(half(u16::from_be_bytes(self.take_array()?)))),
                26 => Ok(Number::Float(f32::from_be_bytes(self.take_array()?).into())),
                27 => Ok(Number::Float(f64::from_be_bytes(self.take_array()?))),
                _ => Err(self.unexpected(at, "a number")),
            },
            _ => Err(self.unexpected(at, "a number")),
        }
    }

    /// Consumes a null or an undefined, if that is what follows.
    pub(super) fn null(&mut self) -> Result<bool, Error> {
        let null = matches!(self.peek()?, 0xf6 | 0xf7);
        self.at += usize::from(null);
        Ok(null)
    }

    /// Skips any one value.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        self.skip_nested(0)
    }

    /// Checks that nothing follows.
    pub(super) fn end(&self) -> Result<(), Error> {
        match self.input.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.unexpected(self.at, "the end")),
        }
    }

    fn container(&mut self, expected: Major, name: &'static str) -> Result<Items, Error> {
        self.skip_tags()?;
        let at = self.at;
        let (major, info) = self.initial()?;
        if major != expected {
            return Err(self.unexpected(at, name));
        }
        Ok(Items { left: if info == 31 { None } else { Some(self.argument(at, info)?) } })
    }

    #[inline]
    fn string(&mut self, expected: Major, name: &'static str) -> Result<Cow<'a, [u8]>, Error> {
        self.skip_tags()?;
        let at = self.at;
        let (major, info) = self.initial()?;
        if major != expected {
            return Err(self.unexpected(at, name));
        }
        if info == 31 {
            return self.chunks(expected, name).map(Cow::Owned);
        }
        self.definite(at, info).map(Cow::Borrowed)
    }

    fn definite(&mut self, at: usize, info: u8) -> Result<&'a [u8], Error> {
        let len = self.argument(at, info)?;
        // A length beyond the address space is beyond the input too.
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The definite strings up to the break, of the same kind as the whole.
    fn chunks(&mut self, expected: Major, name: &'static str) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while self.peek()? != BREAK {
            let at = self.at;
            let (major, info) = self.initial()?;
            if major != expected {
                return Err(self.unexpected(at, name));
            }
            whole.extend_from_slice(self.definite(at, info)?);
        }
        self.at += 1;
        Ok(whole)
    }

    fn skip_nested(&mut self, depth: u32) -> Result<(), Error> {
        let at = self.at;
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep { at });
        }
        let (major, info) = self.initial()?;
        match major {
            Major::Unsigned | Major::Negative => self.argument(at, info).map(|_| ()),
            Major::Bytes | Major::Text if info == 31 => self.chunks(major, "a chunk of a string").map(|_| ()),
            Major::Bytes | Major::Text => self.definite(at, info).map(|_| ()),
            Major::Array | Major::Map => {
                let mut items = Items { left: if info == 31 { None } else { Some(self.argument(at, info)?) } };
                while self.next(&mut items)? {
                    self.skip_nested(depth + 1)?;
                    if major == Major::Map {
                        self.skip_nested(depth + 1)?;
                    }
                }
                Ok(())
            }
            Major::Tag => {
                self.argument(at, info)?;
                self.skip_nested(depth + 1)
            }
            // A break in place of a value.
            Major::Simple if info == 31 => Err(self.unexpected(at, "a value")),
            Major::Simple => self.argument(at, info).map(|_| ()),
        }
    }

    /// Skips tags, which say more about a value than is needed here.
    #[inline]
    fn skip_tags(&mut self) -> Result<(), Error> {
        let mut depth = 0;
        while self.peek()? >> 5 == 6 {
            let at = self.at;
            let (_, info) = self.initial()?;
            self.argument(at, info)?;
            depth += 1;
            if depth > MAX_DEPTH {
                return Err(Error::TooDeep { at });
            }
        }
        Ok(())
    }

    #[inline]
    fn initial(&mut self) -> Result<(Major, u8), Error> {
        let byte = self.peek()?;
        self.at += 1;
        let major = match byte >> 5 {
            0 => Major::Unsigned,
            1 => Major::Negative,
            2 => Major::Bytes,
            3 => Major::Text,
            4 => Major::Array,
            5 => Major::Map,
            6 => Major::Tag,
            _ => Major::Simple,
        };
        Ok((major, byte & 0x1f))
    }

    /// The argument of the initial byte at `at`.
    #[inline]
    fn argument(&mut self, at: usize, info: u8) -> Result<u64, Error> {
        match info {
            0..24 => Ok(info.into()),
            24 => Ok(self.take_array::<1>()?[0].into()),
            25 => Ok(u16::from_be_bytes(self.take_array()?).into()),
            26 => Ok(u32::from_be_bytes(self.take_array()?).into()),
            27 => Ok(u64::from_be_bytes(self.take_array()?)),
            _ => Err(self.unexpected(at, "a length or a number")),
        }
    }

    #[inline]
    fn peek(&self) -> Result<u8, Error> {
        self.input.get(self.at).copied().ok_or(Error::Truncated { at: self.input.len() })
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let rest = &self.input[self.at..];
        let taken = rest.get(..len).ok_or(Error::Truncated { at: self.input.len() })?;
        self.at += len;
        Ok(taken)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.input[self.at..].first_chunk().ok_or(Error::Truncated { at: self.input.len() })?;
        self.at += N;
        Ok(*taken)
    }

    fn unexpected(&self, at: usize, expected: &'static str) -> Error {
        Error::Unexpected { at, expected, found: self.input[at] }
    }
}

/// An IEEE 754 half-precision float.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Appends a map's head; `entries` keys and values follow.
pub(super) fn write_map(out: &mut Vec<u8>, entries: u64) {
    write_head(out, 5, entries);
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    write_head(out, 0, value);
}

/// The shortest head that holds the argument.
fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let be = argument.to_be_bytes();
    let (info, tail) = match argument {
        0..24 => (be[7], &be[8..]),
        24..=0xff => (24, &be[7..]),
        0x100..=0xffff => (25, &be[6..]),
        0x1_0000..=0xffff_ffff => (26, &be[4..]),
        _ => (27, &be[..]),
    };
    out.push(major | info);
    out.extend_from_slice(tail);
}
