//! Values with a unit: periods of time, and sizes in bytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schema_format::{SchemaFormat, schema_format};

/// A period of time, as configuration files and the API write it: `500ms`, `30s`, `12h`.
///
/// ```
/// use std::time::Duration;
/// use app_proxy_api::units::Period;
///
/// let period: Period = serde_json::from_str(r#""1h30m""#)?;
/// assert_eq!(period.0, Duration::from_secs(5400));
/// assert_eq!(Period::from_secs(90).to_string(), "1m30s");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

schema_format!(
    Period,
    "Period",
    SchemaFormat {
        description: "A period of time: one or more whole numbers with a unit (`ms`, `s`, `m`, \
                      `h`, `d`), which are added: `500ms`, `30s`, `1h30m`.",
        pattern: "^(0|([0-9]{1,9}(ms|s|m|h|d))+)$",
        max_length: Period::MAX_LENGTH,
        format: None,
        example: "30s",
    }
);

impl Period {
    /// Maximum length of the text in bytes.
    pub(crate) const MAX_LENGTH: usize = 64;

    /// Creates a period of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let period = if text.len() <= Self::MAX_LENGTH {
            humantime::parse_duration(&text).ok()
        } else {
            None
        };
        period.map(Self).ok_or_else(|| {
            let text: String = text.chars().take(Self::MAX_LENGTH).collect();
            format!("`{text}` is not a period of time: write 500ms, 30s or 12h")
        })
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    /// Writes the period in units that do not depend on a calendar, at most days: `1d12h`, `1m30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u128); 7] = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ];
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in UNITS {
            let count = rest / length;
            rest %= length;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

/// A number of bytes: a plain number, or a number with the unit B, KiB, MiB or GiB.
///
/// ```
/// use app_proxy_api::units::Size;
///
/// assert_eq!("64KiB".parse(), Ok(Size(65_536)));
/// assert_eq!("512".parse(), Ok(Size(512)));
/// assert!("1.5MiB".parse::<Size>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Size {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match value {
            NumberOrText::Number(bytes) => Ok(Self(bytes)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is not a size: write bytes, or 64KiB, 10MiB, 1GiB");
        let digits_end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(invalid()),
        };
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!("64KiB".parse::<Size>(), Ok(Size(65536)));
        assert_eq!("1GiB".parse::<Size>(), Ok(Size(1 << 30)));
        assert_eq!("12".parse::<Size>(), Ok(Size(12)));
        for bad in ["", "KiB", "1KB", "-1", "99999999999GiB", "1.5MiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_are_parsed_and_printed_with_units() {
        assert_eq!(
            Period::try_from("500ms".to_owned()),
            Ok(Period(Duration::from_millis(500)))
        );
        assert_eq!(
            Period::try_from("12h".to_owned()),
            Ok(Period::from_secs(12 * 3600))
        );
        assert!(Period::try_from("12".to_owned()).is_err());
        assert!(Period::try_from("1s".repeat(33)).is_err());
        assert_eq!(String::from(Period::from_secs(90)), "1m30s");
        for text in ["0s", "250ms", "1d12h", "30d", "400d1ms", "3us7ns"] {
            assert_eq!(
                Period::try_from(text.to_owned())
                    .map(String::from)
                    .as_deref(),
                Ok(text)
            );
        }
    }
}
