//! Why a group ended as it did, for people: Redis knows groups by number, people by name.

use remuda_protocol::spec::JobSpec;

/// The reason with the name of the group it speaks of.
#[must_use]
pub fn plain(spec: &JobSpec, reason: &str) -> String {
    let named = || {
        let (number, rest) = reason.strip_prefix("needs group ")?.split_once(',')?;
        let group = spec.groups.get(number.parse::<usize>().ok()?)?;
        Some(format!("needs {},{rest}", group.name))
    };
    named().unwrap_or_else(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::spec_of_each;

    #[test]
    fn a_group_is_named_and_every_other_reason_stays() {
        let spec = spec_of_each("true");
        assert_eq!(plain(&spec, "needs group 0, which failed"), format!("needs {}, which failed", spec.groups[0].name));
        for other in ["needs group 7, which failed", "needs group", "queue-timeout", ""] {
            assert_eq!(plain(&spec, other), other);
        }
    }
}
