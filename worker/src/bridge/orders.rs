//! What the daemon asks of a bridge's slot: the messages of docs/runner-protocol.md, understood once for all bridges. What
//! is done about them is the slot's.

use serde_json::Value;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Append these tests to the queue; with each its task number and attempt, if they were told.
    Run(Vec<u32>, Vec<(u32, u32)>),
    /// Take these out if they have not started.
    Drop(Vec<u32>),
    /// Nothing will come any more.
    Last,
}

impl Order {
    /// `None`: something that asks nothing of a bridge.
    pub(crate) fn of(message: &Value) -> Option<Self> {
        let tests = || {
            let numbers = message.get("tests").and_then(Value::as_array).into_iter().flatten();
            numbers.filter_map(|n| u32::try_from(n.as_u64()?).ok()).collect()
        };
        match message.get("type").and_then(Value::as_str)? {
            "run" => {
                let of = message.get("of").and_then(|of| serde_json::from_value(of.clone()).ok());
                Some(Self::Run(tests(), of.unwrap_or_default()))
            }
            "drop" => Some(Self::Drop(tests())),
            "last" => Some(Self::Last),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_understood_with_and_without_what_is_optional() {
        let run = json!({"type": "run", "tests": [3, 1], "of": [[30, 1], [10, 2]]});
        assert_eq!(Order::of(&run), Some(Order::Run(vec![3, 1], vec![(30, 1), (10, 2)])));
        assert_eq!(Order::of(&json!({"type": "run", "tests": [3]})), Some(Order::Run(vec![3], vec![])));
        assert_eq!(Order::of(&json!({"type": "drop", "tests": [3, "x", -1]})), Some(Order::Drop(vec![3])));
        assert_eq!(Order::of(&json!({"type": "last"})), Some(Order::Last));
        assert_eq!(Order::of(&json!({"type": "idle"})), None);
    }
}
