//! Findings from the coordinator's counters.

use super::{Finding, Level};

const SUBJECT: &str = "metrics";

/// Counters that are 0 while all is well, and what it means when they are not.
const WATCHED: [(&str, &str); 2] = [
    (
        "app_proxy_access_log_dropped_total",
        "lines of the access log were lost: the disk stalls or is full",
    ),
    (
        "app_proxy_request_id_missing_total",
        "requests came without a valid request ID from the tier before",
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

/// The sum of a metric's series, in Prometheus' text format.
fn total(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // A longer name is another metric.
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
    fn counters_that_have_grown_are_warned_of() {
        let text = findings(TEXT);
        assert_eq!((text.len(), text[0].level), (1, Level::Warn));
        assert!(text[0].text.starts_with("15 lines"), "{}", text[0].text);
        assert_eq!(findings("")[0].level, Level::Ok);
    }
}
