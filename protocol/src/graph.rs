//! The graph of groups by `needs`: what is wrong with it, said as a path.

/// A graph that cannot run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    /// Two groups of one name.
    #[error("two groups are called `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A need that names no group.
    #[error("group `{group}` needs group number {need}, which does not exist")]
    UnknownNeed {
        /// The group.
        group: String,
        /// The number.
        need: u32,
    },
    /// Groups that wait for each other.
    #[error("groups need each other in a circle: {path}")]
    Cycle {
        /// `a -> b -> a`.
        path: String,
    },
}

/// Checks names and needs.
///
/// # Errors
/// The first [`GraphError`] found.
pub fn check(names: &[String], needs: &[Vec<u32>]) -> Result<(), GraphError> {
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(GraphError::Duplicate { name: name.clone() });
        }
        if let Some(&need) = needs[i].iter().find(|&&n| n as usize >= names.len()) {
            return Err(GraphError::UnknownNeed { group: name.clone(), need });
        }
    }
    match find_cycle(needs) {
        Some(cycle) => {
            let path = cycle.iter().map(|&g| names[g].as_str()).collect::<Vec<_>>().join(" -> ");
            Err(GraphError::Cycle { path })
        }
        None => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    OnPath,
    Done,
}

/// A circle of needs as a path that ends where it began, if there is one.
#[must_use]
pub fn find_cycle(needs: &[Vec<u32>]) -> Option<Vec<usize>> {
    let mut marks = vec![Mark::New; needs.len()];
    let mut path = Vec::new();
    (0..needs.len()).find_map(|start| visit(start, needs, &mut marks, &mut path))
}

fn visit(at: usize, needs: &[Vec<u32>], marks: &mut [Mark], path: &mut Vec<usize>) -> Option<Vec<usize>> {
    match marks[at] {
        Mark::Done => return None,
        Mark::OnPath => {
            let begin = path.iter().position(|&g| g == at).unwrap_or(0);
            return Some(path[begin..].iter().copied().chain([at]).collect());
        }
        Mark::New => {}
    }
    marks[at] = Mark::OnPath;
    path.push(at);
    let found = needs[at].iter().find_map(|&need| visit(need as usize, needs, marks, path));
    path.pop();
    marks[at] = Mark::Done;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: &[&str]) -> Vec<String> {
        n.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_is_named_as_a_path() {
        let error = check(&names(&["a", "b", "c", "d"]), &[vec![1], vec![2], vec![1], vec![0]]).unwrap_err();
        assert_eq!(error.to_string(), "groups need each other in a circle: b -> c -> b");
    }

    #[test]
    fn a_group_that_needs_itself_is_a_circle() {
        assert_eq!(find_cycle(&[vec![0]]), Some(vec![0, 0]));
    }

    #[test]
    fn a_diamond_is_fine() {
        check(&names(&["a", "b", "c", "d"]), &[vec![], vec![0], vec![0], vec![1, 2]]).unwrap();
    }

    #[test]
    fn a_name_used_twice_is_refused() {
        let error = check(&names(&["a", "a"]), &[vec![], vec![]]).unwrap_err();
        assert_eq!(error, GraphError::Duplicate { name: "a".into() });
    }
}
