//! The limits of requests and responses: `limits` as each daemon writes it, and its resolved form.
//!
//! Every limit of the worker is larger than the largest value that the coordinator accepts for it,
//! so that the headers of the tiers always fit.

use app_proxy_api::units::Size;
use app_proxy_engine::HeadLimits;
use serde::Deserialize;

const KIB: usize = 1024;

/// `limits` of the coordinator: sizes beyond which requests are rejected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorLimitsSection {
    /// Size of the largest request body; 0 is no limit.
    request_body: Size,
    /// Size of the largest request head: request line and headers.
    request_head: Size,
    /// Largest number of header lines of a request.
    request_headers: usize,
    /// Size of the longest request target; `None` for the default.
    request_target: Option<Size>,
}

/// `limits` of the worker: sizes beyond which requests are rejected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerLimitsSection {
    /// Size of the largest request body; 0 is no limit.
    request_body: Size,
}

/// The limits of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the largest request body; 0 is no limit.
    pub request_body: Size,
    /// The limits of a request head.
    pub request_head: HeadLimits,
    /// The limits of a response head. Its `target` has no meaning.
    pub response_head: HeadLimits,
}

/// A limit outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitFault {
    /// The key within `limits`.
    pub key: &'static str,
    /// The range, for the text of the error.
    pub range: &'static str,
}

impl CoordinatorLimitsSection {
    /// The longest target by default.
    const TARGET: usize = 16 * KIB;
    /// The longest target at all: `http::Uri` holds 65,534 bytes, and the coordinator puts
    /// `/proxy/<app>` in front.
    const LONGEST_TARGET: usize = 60 * KIB;

    /// Returns the limits of the coordinator.
    ///
    /// # Errors
    /// The first limit outside its range.
    pub fn resolve(&self) -> Result<Limits, LimitFault> {
        let fault = |key, range| Err(LimitFault { key, range });
        let bytes = bytes(self.request_head);
        if !(4 * KIB..=128 * KIB).contains(&bytes) {
            return fault("request_head", "4KiB to 128KiB");
        }
        if !(32..=224).contains(&self.request_headers) {
            return fault("request_headers", "32 to 224");
        }
        let longest = bytes.min(Self::LONGEST_TARGET);
        let target = match self.request_target {
            None => longest.min(Self::TARGET),
            Some(target) => self::bytes(target),
        };
        if !(KIB..=longest).contains(&target) {
            return fault("request_target", "1KiB to 60KiB, at most request_head");
        }
        Ok(Limits {
            request_body: self.request_body,
            request_head: HeadLimits {
                bytes,
                lines: self.request_headers,
                target,
            },
            response_head: HeadLimits {
                bytes: 160 * KIB,
                lines: 288,
                target: 0,
            },
        })
    }
}

impl Default for CoordinatorLimitsSection {
    fn default() -> Self {
        Self {
            request_body: Size(0),
            request_head: Size(64 << 10),
            request_headers: 200,
            request_target: None,
        }
    }
}

impl WorkerLimitsSection {
    /// Returns the limits of the worker.
    #[must_use]
    pub const fn resolve(&self) -> Limits {
        Limits {
            request_body: self.request_body,
            request_head: HeadLimits {
                bytes: 192 * KIB,
                lines: 288,
                target: 160 * KIB,
            },
            response_head: HeadLimits {
                bytes: 128 * KIB,
                lines: 256,
                target: 0,
            },
        }
    }
}

impl Default for WorkerLimitsSection {
    fn default() -> Self {
        Self {
            request_body: Size(0),
        }
    }
}

/// Returns a size as a number of bytes in memory.
fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(head: u64, lines: usize, target: Option<u64>) -> Result<HeadLimits, &'static str> {
        let section = CoordinatorLimitsSection {
            request_head: Size(head),
            request_headers: lines,
            request_target: target.map(Size),
            ..CoordinatorLimitsSection::default()
        };
        section
            .resolve()
            .map(|limits| limits.request_head)
            .map_err(|fault| fault.key)
    }

    #[test]
    fn a_small_head_has_a_small_target_by_default() {
        let target = |head| limits(head, 100, None).map(|limits| limits.target);
        assert_eq!(target(8 << 10), Ok(8 << 10));
        assert_eq!(target(128 << 10), Ok(16 << 10));
    }

    #[test]
    fn a_limit_outside_its_range_is_named() {
        assert_eq!(limits(129 << 10, 100, None), Err("request_head"));
        assert_eq!(limits(u64::MAX, 100, None), Err("request_head"));
        assert_eq!(limits(0, 100, None), Err("request_head"));
        assert_eq!(limits(8 << 10, 225, None), Err("request_headers"));
        assert_eq!(limits(8 << 10, 0, None), Err("request_headers"));
        assert_eq!(limits(8 << 10, 100, Some(9 << 10)), Err("request_target"));
        assert_eq!(
            limits(128 << 10, 100, Some(61 << 10)),
            Err("request_target")
        );
        assert_eq!(limits(128 << 10, 100, Some(0)), Err("request_target"));
    }

    /// Regression: a request with 249 headers passed the coordinator, and its worker refused it.
    #[test]
    fn what_a_tier_accepts_fits_the_next_hop() {
        let largest = limits(128 << 10, 224, Some(60 << 10)).unwrap();
        let coordinator = CoordinatorLimitsSection::default().resolve().unwrap();
        let worker = WorkerLimitsSection::default().resolve();
        for (smaller, larger) in [
            (largest, worker.request_head),
            (worker.response_head, coordinator.response_head),
        ] {
            assert!(smaller.bytes + 32 * KIB <= larger.bytes);
            assert!(smaller.lines + 32 <= larger.lines);
        }
        assert!(largest.target < worker.request_head.target);
    }
}
