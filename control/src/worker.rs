//! What both tiers know a worker by.

/// Longest identifier of a worker, in bytes.
const LONGEST_ID: usize = 128;

/// A text is no worker's identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no worker id: letters, digits, - _ .")]
pub struct WorkerIdError(String);

/// Checks a worker's identifier: it stands in logs, and in paths of the API.
///
/// # Errors
/// When it is empty, longer than 128 bytes, or has other characters than letters, digits, `-`, `_` and `.`.
pub fn check_id(id: &str) -> Result<(), WorkerIdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let valid = !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(allowed);
    if valid { Ok(()) } else { Err(WorkerIdError(id.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_short_and_plain() {
        for good in ["w1", "gpu-a_1.example", &"x".repeat(128)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "\u{e9}", &"x".repeat(129)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
