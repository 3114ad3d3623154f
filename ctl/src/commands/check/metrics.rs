//! Findings from the coordinator's metrics.

use super::{Finding, Level};

const SUBJECT: &str = "metrics";

/// Counters that should be 0, each with the meaning of other values.
const WATCHED: [(&str, &str); 2] = [
    (
        "app_proxy_access_log_dropped_total",
        "lines of the access log were lost: the disk stalls or is full",
    ),
    (
        "app_proxy_request_id_missing_total",
        "requests arrived without a valid request ID from the previous tier",
    ),
];

pub(super) fn findings(text: &str) -> Vec<Finding> {
    let grown = WATCHED
        .iter()
        .filter_map(|(name, meaning)| match total(text, name) {
            Some(number) if number > 0.0 => Some(Finding::new(
                Level::Warn,
                SUBJECT,
                format!("{number:.0} {meaning}"),
            )),
            _ => None,
        });
    let grown: Vec<_> = grown.collect();
    if grown.is_empty() {
        return vec![Finding::new(
            Level::Ok,
            SUBJECT,
            "no access-log line lost, no request ID missing",
        )];
    }
    grown
}

/// Returns the sum of a metric's series in the Prometheus text format.
fn total(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // The name of another metric may begin with this name.
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE app_proxy_access_log_dropped_total counter
app_proxy_access_log_dropped_total{tier=\"coordinator\"} 12
app_proxy_access_log_dropped_total{tier=\"worker\"} 3
app_proxy_access_log_dropped_total_more 100
plain 4 1700000000
";

    #[test]
    fn the_series_of_a_metric_are_added() {
        assert_eq!(
            total(TEXT, "app_proxy_access_log_dropped_total"),
            Some(15.0)
        );
        assert_eq!(total(TEXT, "plain"), Some(4.0));
        assert_eq!(total(TEXT, "absent"), None);
    }

    #[test]
    fn counters_above_zero_are_warnings() {
        let text = findings(TEXT);
        assert_eq!((text.len(), text[0].level), (1, Level::Warn));
        assert!(text[0].text.starts_with("15 lines"), "{}", text[0].text);
        assert_eq!(findings("")[0].level, Level::Ok);
    }
}
