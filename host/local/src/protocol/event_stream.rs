//! `application/vnd.amazon.eventstream`: the frames that `SubscribeToShard` sends.
//!
//! A frame is its total length, the length of its headers, a CRC-32 of these two, the headers, the payload, and a
//! CRC-32 of all before it. All numbers are big-endian.

use bytes::Bytes;

use super::Protocol;
use crate::model::Error;

pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
const PRELUDE: usize = 12;
const CRC: usize = 4;
const HEADER_STRING: u8 = 7;

/// The first frame: botocore takes it for the operation's plain reply and fails without.
pub(crate) fn initial_response(protocol: Protocol) -> Bytes {
    let empty = match protocol {
        Protocol::Json => Bytes::from_static(b"{}"),
        Protocol::Cbor => Bytes::from_static(b"\xa0"),
    };
    message("event", ":event-type", "initial-response", protocol, &[empty])
}

/// An event of the stream.
pub(crate) fn event(protocol: Protocol, name: &str, payload: &[Bytes]) -> Bytes {
    message("event", ":event-type", name, protocol, payload)
}

/// The frame that says why the stream ends.
pub(crate) fn exception(protocol: Protocol, error: &Error) -> Bytes {
    let payload = Bytes::from(protocol.encode_error(error));
    message("exception", ":exception-type", error.kind.code(), protocol, &[payload])
}

fn message(message_type: &str, type_header: &str, name: &str, protocol: Protocol, payload: &[Bytes]) -> Bytes {
    let content_type = match protocol {
        Protocol::Json => "application/json",
        Protocol::Cbor => "application/cbor",
    };
    let mut headers = Vec::with_capacity(128);
    header(&mut headers, ":message-type", message_type);
    header(&mut headers, type_header, name);
    header(&mut headers, ":content-type", content_type);
    frame(&headers, payload)
}

fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    out.push(HEADER_STRING);
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn frame(headers: &[u8], payload: &[Bytes]) -> Bytes {
    let payload_len: usize = payload.iter().map(Bytes::len).sum();
    let total = PRELUDE + headers.len() + payload_len + CRC;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    let prelude_crc = crc32fast::hash(&out);
    out.extend_from_slice(&prelude_crc.to_be_bytes());
    out.extend_from_slice(headers);
    payload.iter().for_each(|piece| out.extend_from_slice(piece));
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    Bytes::from(out)
}
