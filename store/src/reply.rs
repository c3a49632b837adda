//! Reads the answers of scripts: nested arrays of strings and numbers.

use redis::Value;

/// A list, or nothing if the answer is none.
pub(crate) fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// Text, lossily; numbers as their digits.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(s) => s.clone(),
        Value::Int(n) => n.to_string(),
        _ => String::new(),
    }
}

/// A number, 0 if it is none.
pub(crate) fn number<T: std::str::FromStr + Default>(value: &Value) -> T {
    text(value).parse().unwrap_or_default()
}

/// All as text.
pub(crate) fn texts(value: Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}

/// Splits a status line `WORD rest`.
pub(crate) fn status(value: &Value) -> (String, String) {
    let all = text(value);
    match all.split_once(' ') {
        Some((word, rest)) => (word.to_owned(), rest.to_owned()),
        None => (all, String::new()),
    }
}

/// The fields of a hash as pairs.
pub(crate) fn pairs(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Map(map) => map.into_iter().map(|(k, v)| (text(&k), v)).collect(),
        Value::Array(items) => {
            let mut items = items.into_iter();
            let mut found = Vec::new();
            while let (Some(k), Some(v)) = (items.next(), items.next()) {
                found.push((text(&k), v));
            }
            found
        }
        _ => Vec::new(),
    }
}
