//! A profile for reading: where the instructions of one request are.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::profile::Profile;

/// Lines of each table.
const LINES: usize = 60;
/// The number of characters of a name in a report; its end is shown, which tells generic names
/// apart.
const NAME: usize = 150;

/// The tables of a profile of `times` requests.
pub(crate) fn tables(profile: &Profile, times: usize) -> String {
    let mut text = String::new();
    let total = profile.total as f64 / times as f64;
    let allocations = profile.allocations as f64 / times as f64;
    let _ = writeln!(
        text,
        "{total:.0} instructions and {allocations:.1} allocations a request"
    );
    text.push_str(
        "\n== by function, with what was inlined into it (calls a request in brackets)\n",
    );
    functions(&mut text, profile, &profile.own, times);
    text.push_str("\n== by function, with all that it called\n");
    functions(&mut text, profile, &profile.inclusive, times);
    text.push_str("\n== by crate of the source line, inlined or not\n");
    table(&mut text, &by_crate(&profile.files), times, |_| {
        String::new()
    });
    text.push_str("\n== by file of the source line, inlined or not\n");
    table(&mut text, &profile.files, times, |_| String::new());
    text.push_str("\n== allocations by caller\n");
    table(&mut text, &profile.allocators(), times, |_| String::new());
    text
}

fn functions(text: &mut String, profile: &Profile, counts: &HashMap<String, u64>, times: usize) {
    table(text, counts, times, |name| {
        format!("({:.2}) ", profile.calls_of(name) as f64 / times as f64)
    });
}

fn table(
    text: &mut String,
    counts: &HashMap<String, u64>,
    times: usize,
    note: impl Fn(&str) -> String,
) {
    let mut rows: Vec<(&String, &u64)> = counts.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    for (name, count) in rows.into_iter().take(LINES) {
        let each = *count as f64 / times as f64;
        let _ = writeln!(text, "{each:>10.1}  {}{}", note(name), shortened(name));
    }
}

fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME {
        return name.to_owned();
    }
    let skipped = length - NAME;
    format!("…{}", name.chars().skip(skipped).collect::<String>())
}

/// Sums over the files of one crate: of a registry, of this repository, of the standard library.
fn by_crate(files: &HashMap<String, u64>) -> HashMap<String, u64> {
    let mut crates: HashMap<String, u64> = HashMap::new();
    for (file, count) in files {
        *crates.entry(crate_of(file)).or_default() += count;
    }
    crates
}

fn crate_of(file: &str) -> String {
    let after = |marker: &str, parts: usize| {
        let rest = file.split_once(marker)?.1;
        Some(rest.split('/').take(parts).collect::<Vec<_>>().join("/"))
    };
    let registry = after("/registry/src/", 2)
        .and_then(|found| found.split_once('/').map(|(_, name)| name.to_owned()));
    let own = || {
        let before = file.split_once("/src/")?.0;
        Some(before.rsplit('/').next().unwrap_or(before).to_owned())
    };
    registry
        .or_else(|| after("/library/", 1))
        .or_else(own)
        .unwrap_or_else(|| file.to_owned())
}
