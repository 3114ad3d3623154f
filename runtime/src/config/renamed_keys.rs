//! Renamed keys: the old name works for one release, with a warning.

use serde_yaml::{Mapping, Value};

/// A renamed key of a daemon's section.
#[derive(Clone, Copy, Debug)]
pub struct RenamedKey {
    /// The mapping that holds the key, as a path within the daemon's section (`sync`); empty for
    /// the section itself.
    pub within: &'static str,
    /// The name until the last release.
    pub old: &'static str,
    /// The name from this release on.
    pub new: &'static str,
}

/// A configuration with one key renamed.
pub(super) struct Renamed {
    /// The file's text; each line stays where it was.
    pub(super) text: String,
    /// The parsed text.
    pub(super) document: Value,
    /// The line of the key, from 1.
    pub(super) line: usize,
}

/// A renamed key that cannot be accepted under its old name.
pub(super) struct RenameError {
    /// The line of the key, from 1.
    pub(super) line: usize,
    /// The problem, with both names.
    pub(super) problem: String,
}

impl RenamedKey {
    /// The warning about a file that uses the old name.
    pub(super) fn warning(&self) -> String {
        format!(
            "`{}` is now `{}`; the old name works until the next release",
            self.path(self.old),
            self.path(self.new)
        )
    }

    /// Renames the key in a file's `text`, which parses to `document`; `None` if the file does not
    /// use the old name.
    ///
    /// # Errors
    /// If the file has both names, or has the key in a place that other places refer to (a YAML
    /// anchor).
    pub(super) fn apply(
        &self,
        section: &str,
        text: &str,
        document: &Value,
    ) -> Result<Option<Renamed>, RenameError> {
        let Some(mapping) = self.mapping(section, document) else {
            return Ok(None);
        };
        if !mapping.contains_key(self.old) {
            return Ok(None);
        }
        let (old, new) = (self.path(self.old), self.path(self.new));
        if mapping.contains_key(self.new) {
            // Any name that the file does not use finds the line.
            let unused = format!("{}_{}", self.old, self.new);
            return Err(RenameError {
                line: self
                    .replace(section, text, document, &unused)
                    .map_or(1, |renamed| renamed.line),
                problem: format!("`{old}` is the old name of `{new}`: remove one of the two"),
            });
        }
        match self.replace(section, text, document, self.new) {
            Some(renamed) => Ok(Some(renamed)),
            None => Err(RenameError {
                line: 1,
                problem: format!("`{old}` is now `{new}`: rename it"),
            }),
        }
    }

    /// Replaces the old name by `name` where it stands in the text: that is the one occurrence
    /// whose replacement changes this key and nothing else.
    fn replace(&self, section: &str, text: &str, document: &Value, name: &str) -> Option<Renamed> {
        let mut expected = document.clone();
        let mapping = self.mapping_mut(section, &mut expected)?;
        let value = mapping.remove(self.old)?;
        mapping.insert(name.into(), value);
        text.match_indices(self.old).find_map(|(at, old)| {
            let (before, after) = (text.get(..at)?, text.get(at + old.len()..)?);
            let text = [before, name, after].concat();
            let document: Value = serde_yaml::from_str(&text).ok()?;
            (document == expected).then(|| Renamed {
                line: before.matches('\n').count() + 1,
                text,
                document,
            })
        })
    }

    fn mapping<'d>(&self, section: &str, document: &'d Value) -> Option<&'d Mapping> {
        let steps = self.within.split('.').filter(|step| !step.is_empty());
        steps
            .fold(document.get(section), |value, step| value?.get(step))?
            .as_mapping()
    }

    fn mapping_mut<'d>(&self, section: &str, document: &'d mut Value) -> Option<&'d mut Mapping> {
        let steps = self.within.split('.').filter(|step| !step.is_empty());
        steps
            .fold(document.get_mut(section), |value, step| {
                value?.get_mut(step)
            })?
            .as_mapping_mut()
    }

    fn path(&self, name: &str) -> String {
        if self.within.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FENCE: RenamedKey = RenamedKey {
        within: "sync",
        old: "fence",
        new: "limit",
    };

    fn apply(key: RenamedKey, text: &str) -> Result<Option<(usize, String)>, (usize, String)> {
        key.apply("daemon", text, &serde_yaml::from_str(text).unwrap())
            .map(|renamed| renamed.map(|renamed| (renamed.line, renamed.text)))
            .map_err(|e| (e.line, e.problem))
    }

    #[test]
    fn only_the_key_is_renamed_and_lines_stay() {
        for (text, line) in [
            ("daemon:\n  sync:\n    fence: 2s\n", 3),
            ("daemon: {sync: {\"fence\": 2s}}\n", 1),
            (
                "fence: fence\ndaemon:\n  # fence: 1s\n  labels: {sync: {fence: 1}}\n\
                 \x20 name: fence\n  sync:\n    fence: fence # fence\n",
                7,
            ),
        ] {
            let (found, renamed) = apply(FENCE, text).unwrap().unwrap();
            assert_eq!(found, line, "{text}");
            let changed: Vec<_> = text
                .lines()
                .zip(renamed.lines())
                .enumerate()
                .filter(|(_, (old, new))| old != new)
                .map(|(index, _)| index + 1)
                .collect();
            assert_eq!(changed, [line], "{renamed}");
            assert!(renamed.contains("limit"), "{renamed}");
        }
    }

    #[test]
    fn files_without_the_old_name_stay_as_they_are() {
        for text in [
            "daemon:\n  sync:\n    limit: 2s\n",
            "daemon:\n  fence: 2s\n",
            "sync: {fence: 2s}\n",
            "daemon: 5\n",
        ] {
            assert_eq!(apply(FENCE, text), Ok(None), "{text}");
        }
    }

    #[test]
    fn both_names_are_rejected() {
        let (line, problem) =
            apply(FENCE, "daemon:\n  sync:\n    limit: 1s\n    fence: 2s\n").unwrap_err();
        assert_eq!(line, 4);
        assert!(problem.contains("`sync.fence`") && problem.contains("`sync.limit`"));
    }

    #[test]
    fn a_key_behind_an_anchor_is_rejected() {
        let text = "daemon:\n  sync: &s {fence: 2s}\n  other: *s\n";
        assert!(apply(FENCE, text).is_err());
    }

    #[test]
    fn a_key_of_the_section_itself_can_be_renamed() {
        let key = RenamedKey {
            within: "",
            ..FENCE
        };
        assert_eq!(
            apply(key, "daemon:\n  fence: 2s\n"),
            Ok(Some((2, "daemon:\n  limit: 2s\n".to_owned())))
        );
        assert!(key.warning().starts_with("`fence` is now `limit`;"));
    }
}
