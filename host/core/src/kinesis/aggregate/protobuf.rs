//! The fields of a protobuf message, as slices of the buffer that it lies in. Owns the wire format, not what fields mean.
//! Everything is bounded by the message; nothing is allocated.

use crate::envelope::Span;

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    /// Bytes, text or a message.
    Bytes(Span),
    /// A number of fixed width, which no field that we know has.
    Fixed,
}

/// Gives each field's number and value in their order; an error is the last that comes. Groups, which protobuf gave up
/// before KPL was born, are an error.
pub(super) struct Fields<'a> {
    buffer: &'a [u8],
    at: u32,
    end: u32,
}

impl<'a> Fields<'a> {
    /// The message that is this slice of the buffer.
    pub(super) fn new(buffer: &'a [u8], message: Span) -> Self {
        Self { buffer, at: message.start, end: message.start + message.len }
    }

    fn field(&mut self) -> Result<(u32, Value), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.buffer[self.take(1)?.start as usize];
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, len: u32) -> Result<Span, Malformed> {
        if len > self.end - self.at {
            return Err(Malformed);
        }
        let start = self.at;
        self.at += len;
        Ok(Span { start, len })
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<(u32, Value), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.end {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.end;
        }
        Some(field)
    }
}
