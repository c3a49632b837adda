//! Frames: `u32 length of the JSON, u32 length of the blob` (big-endian), the JSON, the blob.
//!
//! Used by both ends of every socket of the warden. Descriptors travel beside the bytes (`channel.rs`,
//! `handle.rs`). Arguments, variables and folders may hold any bytes: [`Text`] is a JSON string when
//! they are UTF-8, else `{"latin1": "…"}` with one character U+0000–U+00FF for each byte. Pure.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes before the JSON of a frame.
pub(super) const HEADER: usize = 8;

/// More than this in one frame is a broken peer.
const LIMIT: usize = 1 << 30;

/// A string of the operating system: any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) OsString);

impl Text {
    pub(super) fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<T: Into<OsString>> From<T> for Text {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Repr<'a> {
    Plain(std::borrow::Cow<'a, str>),
    Escaped { latin1: String },
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Repr::Escaped { latin1: self.as_bytes().iter().map(|byte| char::from(*byte)).collect() }
                .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Repr::deserialize(deserializer)? {
            Repr::Plain(text) => Ok(Self(text.into_owned().into())),
            Repr::Escaped { latin1 } => latin1
                .chars()
                .map(|c| u8::try_from(u32::from(c)))
                .collect::<Result<Vec<u8>, _>>()
                .map(|bytes| Self(OsString::from_vec(bytes)))
                .map_err(|_| serde::de::Error::custom("latin1 text holds a character above U+00FF")),
        }
    }
}

/// Appends one frame to `out`.
pub(super) fn encode<T: Serialize>(out: &mut Vec<u8>, message: &T, blob: &[u8]) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    serde_json::to_writer(&mut *out, message)?;
    let json = out.len() - start - HEADER;
    out[start..start + 4].copy_from_slice(&length(json)?);
    out[start + 4..start + HEADER].copy_from_slice(&length(blob.len())?);
    out.extend_from_slice(blob);
    Ok(())
}

fn length(len: usize) -> io::Result<[u8; 4]> {
    if len > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too large"));
    }
    u32::try_from(len).map(u32::to_be_bytes).map_err(io::Error::other)
}

/// The lengths of JSON and blob in a frame's first [`HEADER`] bytes.
pub(super) fn lengths(header: [u8; HEADER]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = header;
    let json = u32::from_be_bytes([a, b, c, d]) as usize;
    let blob = u32::from_be_bytes([e, f, g, h]) as usize;
    if json > LIMIT || blob > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too large"));
    }
    Ok((json, blob))
}

/// The first frame in `bytes` (message, blob, its whole length), or nothing if it is not complete.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Option<(T, &[u8], usize)>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let (json, blob) = lengths(*header)?;
    let Some(body) = rest.get(..json + blob) else {
        return Ok(None);
    };
    let message = serde_json::from_slice(&body[..json])?;
    Ok(Some((message, &body[json..], HEADER + json + blob)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_bytes_survives() {
        for bytes in [b"plain".to_vec(), "hüh".into(), vec![0xff, b'a', 0x80], vec![]] {
            let text = Text(OsString::from_vec(bytes));
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text, "{json}");
        }
    }

    #[test]
    fn a_frame_is_decoded_only_when_complete() {
        let mut out = Vec::new();
        encode(&mut out, &"hello", b"blob").unwrap();
        for cut in 0..out.len() {
            assert!(decode::<String>(&out[..cut]).unwrap().is_none(), "{cut}");
        }
        let len = out.len();
        out.extend_from_slice(b"next");
        let (message, blob, used) = decode::<String>(&out).unwrap().unwrap();
        assert_eq!((message.as_str(), blob, used), ("hello", &b"blob"[..], len));
    }

    #[test]
    fn an_absurd_length_is_an_error() {
        assert!(decode::<String>(&[0xff; 16]).is_err());
    }
}
