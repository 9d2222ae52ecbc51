//! What the host must know about a compiled component without inspecting its types. The compiler process determines it
//! and appends it to the artifact, after the part that the engine reads. Every part of it is bounded.

use std::io::{self, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};
use shardmill_core::text;
use wasmtime::component::Component;

use crate::footprint::Footprint;

/// How many names are kept, of imports and of exports each.
const MAX_NAMES: usize = 256;
/// How many bytes of a name are kept.
const MAX_NAME_BYTES: usize = 256;
/// Far more bytes than the largest description has.
const MAX_BYTES: u64 = 1 << 20;

/// The last bytes of an artifact, preceded by the description and its length.
const MARK: &[u8; 8] = b"shmill\x01\n";

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    pub(crate) footprint: Footprint,
}

impl Description {
    pub(crate) fn of(engine: &wasmtime::Engine, component: &Component, footprint: Footprint) -> Self {
        let ty = component.component_type();
        let kept = |name: &str| text::line(name, MAX_NAME_BYTES);
        Self {
            imports: ty.imports(engine).take(MAX_NAMES).map(|(name, _)| kept(name)).collect(),
            exports: ty.exports(engine).take(MAX_NAMES).map(|(name, _)| kept(name)).collect(),
            footprint,
        }
    }

    pub(crate) fn append_to(&self, artifact: &mut Vec<u8>) {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let length = text.len() as u64;
        artifact.extend(text);
        artifact.extend(length.to_le_bytes());
        artifact.extend(MARK);
    }

    /// Reads what [`Description::append_to`] wrote.
    ///
    /// # Errors
    /// When there is no description, or the file cannot be read.
    pub(crate) fn read(artifact: &mut (impl Read + Seek)) -> io::Result<Self> {
        let none = || io::Error::new(io::ErrorKind::InvalidData, "it has no description at its end");
        let mut end = [0; 16];
        let size = artifact.seek(SeekFrom::End(0))?;
        artifact.seek(SeekFrom::Start(size.checked_sub(end.len() as u64).ok_or_else(none)?))?;
        artifact.read_exact(&mut end)?;
        let (length, mark) = end.split_at(8);
        let length = u64::from_le_bytes(length.try_into().map_err(|_| none())?);
        if mark != MARK || length > MAX_BYTES {
            return Err(none());
        }
        let start = size.checked_sub(end.len() as u64 + length).ok_or_else(none)?;
        artifact.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        artifact.take(length).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_description_is_read_from_the_end_of_an_artifact() {
        let description = Description { imports: vec!["a".to_owned()], ..Description::default() };
        let mut artifact = b"machine code".to_vec();
        description.append_to(&mut artifact);
        assert_eq!(Description::read(&mut Cursor::new(&artifact)).unwrap(), description);
        for length in 0..artifact.len() {
            assert!(Description::read(&mut Cursor::new(&artifact[..length])).is_err(), "{length} bytes");
        }
        let mut endless = b"x".to_vec();
        endless.extend(u64::MAX.to_le_bytes());
        endless.extend(MARK);
        assert!(Description::read(&mut Cursor::new(&endless)).is_err());
    }
}
