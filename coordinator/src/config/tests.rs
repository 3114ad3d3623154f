//! The sample file, and errors of invalid files.

use super::*;
use std::path::Path;

const SMALLEST: &str = "version: 1\ncoordinator:\n  listeners: [{address: '127.0.0.1:0'}]\n  \
    admin: {address: '127.0.0.1:0'}\n";

fn load(more: &str) -> Result<Config, String> {
    let text = format!("{SMALLEST}{more}");
    Config::from_file(ConfigFile::from_text("c.yaml", &text)).map_err(|e| e.to_string())
}

#[test]
fn the_sample_is_valid_and_has_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/coordinator.yaml");
    let sample = Config::load(path).unwrap();
    let default = load("").unwrap();
    let shown = |c: &Config| {
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            c.store,
            c.webhooks,
            c.registration,
            c.request_id,
            c.sessions,
            c.health_check,
            c.timeouts,
            c.limits,
            c.engine,
            c.drain,
            c.access_log,
            c.websocket,
            c.trusted_proxies,
            c.log_level
        )
    };
    assert_eq!(shown(&sample), shown(&default));
}

#[test]
fn errors_name_their_line_and_key() {
    for (more, line, words) in [
        (
            "  workers: [{id: a, address: 'h:1'}, {id: a, address: 'h:2'}]\n",
            5,
            vec!["workers", "`a`"],
        ),
        (
            "  workers:\n  - {id: a, address: 'h'}\n",
            6,
            vec!["workers", "address"],
        ),
        (
            "  apps:\n  - name: a\n  - name: b\n    match: [{path: /apps/a}]\n",
            7,
            vec!["apps", "`a`"],
        ),
        ("  apps:\n  - name: UP\n", 6, vec!["UP"]),
        (
            "  apps:\n  - name: a\n    match: [{path: a}]\n",
            6,
            vec!["apps"],
        ),
        ("  sessions: {tll: 1h}\n", 5, vec!["tll"]),
        ("  sessions: {max: 1}\n", 5, vec!["sessions.max"]),
        (
            "  store: {kind: memory, shared: true}\n",
            5,
            vec!["store.shared", "memory"],
        ),
        (
            "  registration: {lease: 10ms}\n",
            5,
            vec!["registration.lease"],
        ),
        (
            "  workers: [{id: a, address: 'h:1', labels: {'': x}}]\n",
            5,
            vec!["labels", "`a`"],
        ),
        (
            "  health_check: {interval: 0s}\n",
            5,
            vec!["health_check.interval"],
        ),
        (
            "  trusted_proxies: [10.0.0.0/40]\n",
            5,
            vec!["trusted_proxies"],
        ),
        ("  domain: 'a b'\n", 5, vec!["domain"]),
        (
            "  limits:\n    request_body: 0\n    request_head: 1MiB\n",
            7,
            vec!["limits.request_head", "128KiB"],
        ),
        (
            "  limits:\n    request_headers: 300\n",
            6,
            vec!["limits.request_headers", "224"],
        ),
        (
            "  limits: {request_head: 8KiB, request_target: 16KiB}\n",
            5,
            vec!["limits.request_target"],
        ),
        ("  engine: nginx\n", 5, vec!["engine", "nginx"]),
    ] {
        let text = load(more).unwrap_err();
        assert!(text.starts_with(&format!("c.yaml:{line}: ")), "{text}");
        assert!(
            words.iter().all(|word| text.contains(word)) && !text.contains('\n'),
            "{text}"
        );
    }
}
