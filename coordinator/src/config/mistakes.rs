//! Several mistakes of one file, told together: who repairs one wants to know of the others. The first of each table,
//! and all of its unknown keys; what only follows from a mistake is not looked for.

use super::ConfigError;

/// Mistakes so far.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    /// What could be read; a mistake is kept instead.
    pub fn keep<T: Default>(&mut self, found: Result<T, ConfigError>) -> T {
        found.unwrap_or_else(|mistake| {
            match mistake {
                ConfigError::Several(more) => self.0.extend(more),
                one => self.0.push(one),
            }
            T::default()
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// There were mistakes.
    pub fn end(mut self) -> Result<(), ConfigError> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => {
                self.0.sort_by_key(ConfigError::line);
                Err(ConfigError::Several(self.0))
            }
        }
    }
}

/// Each on a line of its own, with its repair.
pub(super) fn told(mistakes: &[ConfigError]) -> String {
    let line = |mistake: &ConfigError| match mistake.hint() {
        Some(hint) => format!("\n  {mistake} ({hint})"),
        None => format!("\n  {mistake}"),
    };
    format!("{} mistakes:{}", mistakes.len(), mistakes.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_alone_and_several_together() {
        let mistake = |name| ConfigError::Variable { name, problem: "is wrong".into() };
        let mut mistakes = Mistakes::default();
        assert_eq!(mistakes.keep(Ok(3)), 3);
        let () = mistakes.keep(Err(mistake("A")));
        assert!(matches!(mistakes.end(), Err(ConfigError::Variable { name: "A", .. })));
        let mut mistakes = Mistakes::default();
        let () = mistakes.keep(Err(ConfigError::Several(vec![mistake("A"), mistake("B")])));
        let () = mistakes.keep(Err(mistake("C")));
        let text = mistakes.end().unwrap_err().to_string();
        assert_eq!(text, "3 mistakes:\n  A: is wrong\n  B: is wrong\n  C: is wrong");
    }
}
