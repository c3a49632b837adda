//! Ids of tests, as frameworks write them. Pure; knows which part names a file, and nothing of the frameworks.

/// The part of an id that says in which file the test is: `a.py::Class::test[x]` and `./a_spec.rb[1:2]` are in `a.py`
/// and `./a_spec.rb`. The whole id where no file can be told.
#[must_use]
pub fn file_of(id: &str) -> &str {
    if let Some((file, _)) = id.split_once("::") {
        return file;
    }
    match id.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((file, place)) if !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit() || b == b':') => file,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::file_of;

    #[test]
    fn the_file_is_found_in_the_ids_of_all_runners() {
        for (id, file) in [
            ("tests/a.py::T::test_x[1:2]", "tests/a.py"),
            ("./spec/a_spec.rb[1:2:3]", "./spec/a_spec.rb"),
            ("convert a[1].png", "convert a[1].png"),
            ("item[]", "item[]"),
            ("lint src", "lint src"),
        ] {
            assert_eq!(file_of(id), file, "{id}");
        }
    }
}
