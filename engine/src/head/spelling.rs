//! The spelling of header names in responses. Names have no case (RFC 9110, section 5.1), but some
//! clients compare them as text.

/// Configured header names in the spelling of the configuration, such as `X-Backend-Request-ID`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpelledNames(Box<[Box<str>]>);

impl FromIterator<String> for SpelledNames {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().map(String::into_boxed_str).collect())
    }
}

impl SpelledNames {
    /// Creates the set of these names.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        names.into_iter().collect()
    }

    /// Returns the configured spelling of a name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name))?;
        Some(found)
    }
}
