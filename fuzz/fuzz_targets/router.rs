//! Any host and path are answered, and what is found is what was asked for.
#![no_main]

use std::sync::LazyLock;

use app_proxy_coordinator::router::{HostName, Lookup, Router, Rule};
use libfuzzer_sys::fuzz_target;

static ROUTER: LazyLock<Router<usize>> = LazyLock::new(|| {
    let rule = |host, path| Rule::new(host, path).expect("a valid rule");
    let mut router = Router::new(HostName::parse("d.test").ok());
    for (value, (name, rules)) in [
        ("a", vec![]),
        ("b", vec![rule(None, Some("/b")), rule(None, Some("/b/c/d"))]),
        ("c", vec![rule(Some("h.test"), None)]),
        ("d", vec![rule(Some("h.test"), Some("/b/c")), rule(Some("[::1]"), Some("/x"))]),
    ]
    .into_iter()
    .enumerate()
    {
        router.add_app(name, &rules, value).expect("no conflict");
    }
    router
});

fuzz_target!(|input: &str| {
    let Some((host, path)) = input.split_once('\n') else {
        return;
    };
    match ROUTER.lookup(host, path) {
        Lookup::Found(found) => {
            assert!(found.remainder.starts_with('/'));
            assert_eq!(format!("{}{}", found.prefix, found.remainder), path);
            assert!(!path.starts_with("/.app-proxy/"));
        }
        Lookup::RedirectToSlash(found) => {
            assert_eq!(found.prefix, path);
            assert!(!path.is_empty());
        }
        Lookup::NotFound | Lookup::Refused(_) => {}
    }

    // A rule from the same bytes is refused or prints as what it reads back as.
    if let Ok(rule) = Rule::new(Some(host), Some(path)) {
        let printed = rule.to_string();
        let (host, path) = printed.split_at(printed.find('/').expect("a path"));
        assert_eq!(Rule::new(Some(host), Some(path)).as_ref(), Ok(&rule));
    }
});
