//! Values with a unit: periods of time and sizes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schema_format;
use crate::schema_format::SchemaFormat;

/// A period of time as configurations and the API write it: `500ms`, `30s`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

schema_format!(
    Period,
    "Period",
    SchemaFormat {
        description: "A period of time, in a whole number of units (`ms`, `s`, `m`, `h`, `d`), or the sum of some: `500ms`, `30s`, `1h30m`.",
        pattern: "^(0|([0-9]{1,9}(ms|s|m|h|d))+)$",
        longest: Period::LONGEST,
        format: None,
        example: "30s",
    }
);

impl Period {
    /// The longest text of a period, in bytes.
    pub const LONGEST: usize = 64;

    /// A period of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let period = if text.len() <= Self::LONGEST {
            humantime::parse_duration(&text).ok()
        } else {
            None
        };
        period.map(Self).ok_or_else(|| {
            let text: String = text.chars().take(Self::LONGEST).collect();
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
    /// In units that do not depend on a calendar, the largest of which is a day: `1d12h`, `90s` as
    /// `1m30s`.
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

/// A number of bytes: a plain number, or with one of the units B, KiB, MiB, GiB.
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
        let complaint = || format!("`{text}` is not a size: write bytes, or 64KiB, 10MiB, 1GiB");
        let digits_end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(complaint()),
        };
        let number: u64 = digits.parse().map_err(|_| complaint())?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(complaint)
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
    fn periods_read_as_people_write_them() {
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
