//! Tests of precedence, redirects, conflicts and removal.

use proptest::prelude::*;

use super::*;

mod linear_search;

/// Builds a router of apps given by name and rules; the value of each app is its name.
fn router(domain: Option<&str>, apps: &[(&'static str, &[Rule])]) -> Router<&'static str> {
    let mut router = Router::new(domain.map(|domain| HostName::parse(domain).unwrap()));
    for (name, rules) in apps {
        router.add_app(name, rules, *name).unwrap();
    }
    router
}

fn rule(host: Option<&str>, path: Option<&str>) -> Rule {
    Rule::new(host, path).unwrap()
}

fn path(path: &str) -> Rule {
    rule(None, Some(path))
}

fn host(host: &str) -> Rule {
    rule(Some(host), None)
}

/// Returns app, prefix and remainder of a successful lookup.
fn found<'a>(
    router: &'a Router<&'static str>,
    host: &str,
    path: &'a str,
) -> Option<(&'a str, &'a str, &'a str)> {
    match router.lookup(host, path) {
        Lookup::Found(found) => {
            assert_eq!(*found.value, found.app);
            Some((found.app, found.prefix, found.remainder))
        }
        Lookup::NotFound => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn apps_without_rules_match_their_name() {
    let router = router(None, &[("jupyter", &[]), ("jupyterlab", &[])]);
    assert_eq!(
        found(&router, "any", "/apps/jupyter/api"),
        Some(("jupyter", "/apps/jupyter", "/api"))
    );
    assert_eq!(
        found(&router, "", "/apps/jupyterlab/"),
        Some(("jupyterlab", "/apps/jupyterlab", "/"))
    );
    for path in [
        "/",
        "/apps",
        "/apps/",
        "/apps/jupyte/",
        "/apps//jupyter/",
        "/Apps/jupyter/",
    ] {
        assert_eq!(found(&router, "any", path), None, "{path}");
    }
}

#[test]
fn apps_with_rules_match_only_these() {
    let router = router(None, &[("a", &[path("/one"), path("/two/")])]);
    assert_eq!(found(&router, "", "/one/x"), Some(("a", "/one", "/x")));
    assert_eq!(found(&router, "", "/two/x"), Some(("a", "/two", "/x")));
    assert_eq!(found(&router, "", "/apps/a/x"), None);
}

#[test]
fn the_longest_prefix_wins_on_whole_segments() {
    let apps: &[(_, &[Rule])] = &[
        ("root", &[path("/")]),
        ("a", &[path("/a")]),
        ("deep", &[path("/a/b/c")]),
    ];
    let router = router(None, apps);
    for (path, app) in [
        ("/", "root"),
        ("/ab", "root"),
        ("/a/", "a"),
        ("/a/b/", "a"),
        ("/a/b/cc", "a"),
        ("/a/b//c/", "a"),
        ("/a/b/c/", "deep"),
        ("/a/b/c/d/e/f", "deep"),
    ] {
        let app_found = found(&router, "", path).map(|(app, _, _)| app);
        assert_eq!(app_found, Some(app), "{path}");
    }
}

#[test]
fn a_host_rule_beats_the_domain_and_the_domain_beats_a_path() {
    let apps: &[(_, &[Rule])] = &[
        ("a", &[]),
        ("b", &[rule(Some("a.example.com"), Some("/b"))]),
        ("c", &[path("/b/deeper")]),
    ];
    let router = router(Some("Example.com"), apps);
    let app = |host, path| found(&router, host, path).map(|(app, _, rest)| (app, rest));
    assert_eq!(app("a.example.com", "/b/deeper/"), Some(("b", "/deeper/")));
    assert_eq!(app("a.example.com", "/x"), Some(("a", "/x")));
    assert_eq!(app("b.example.com", "/b/x"), Some(("b", "/b/x")));
    assert_eq!(app("example.com", "/b/deeper/x"), Some(("c", "/x")));
    assert_eq!(app("d.example.com", "/x"), None);
}

#[test]
fn a_host_without_a_matching_path_falls_through() {
    let apps: &[(_, &[Rule])] = &[
        ("a", &[rule(Some("h.test"), Some("/a"))]),
        ("b", &[path("/b")]),
    ];
    let router = router(None, apps);
    let app = |path| found(&router, "h.test", path).map(|(app, _, _)| app);
    assert_eq!(app("/a/"), Some("a"));
    assert_eq!(app("/b/"), Some("b"));
    assert_eq!(app("/c/"), None);
}

#[test]
fn case_port_and_trailing_dot_of_the_host_are_ignored() {
    let router = router(None, &[("a", &[host("H.Test")]), ("six", &[host("[::1]")])]);
    for (host, app) in [
        ("h.test", "a"),
        ("H.TEST:8080", "a"),
        ("h.test.", "a"),
        ("[::1]", "six"),
        ("[0:0::1]:8080", "six"),
    ] {
        let app_found = found(&router, host, "/").map(|(app, _, _)| app);
        assert_eq!(app_found, Some(app), "{host}");
    }
    assert_eq!(found(&router, "h.test.evil", "/"), None);
}

#[test]
fn a_prefix_without_its_slash_redirects() {
    let router = router(None, &[("jupyter", &[])]);
    let Lookup::RedirectToSlash(found) = router.lookup("", "/apps/jupyter") else {
        panic!("no redirect");
    };
    assert_eq!((found.app, found.prefix), ("jupyter", "/apps/jupyter"));
    assert_eq!(found.remainder, "");
}

#[test]
fn a_rule_for_all_paths_never_redirects() {
    let router = router(Some("d.test"), &[("a", &[host("h.test")]), ("b", &[])]);
    assert_eq!(found(&router, "h.test", "/"), Some(("a", "", "/")));
    assert_eq!(found(&router, "b.d.test", "/"), Some(("b", "", "/")));
    assert_eq!(
        found(&router, "b.d.test", "/apps/b"),
        Some(("b", "", "/apps/b"))
    );
}

#[test]
fn paths_that_lead_out_of_their_prefix_are_rejected() {
    let router = router(None, &[("a", &[]), ("b", &[]), ("all", &[host("h.test")])]);
    for (host, path, error) in [
        ("", "/apps/a/../b/x", PathError::NotLiteral),
        ("", "/apps/a/..%2fb/x", PathError::NotLiteral),
        ("", "/apps%2fa/x", PathError::NotLiteral),
        ("", "/apps/a/..\\b/x", PathError::Escapes),
        ("", "/apps/a/../a/x", PathError::Escapes),
        ("h.test", "/x/../../y", PathError::Escapes),
        ("", "/apps/a/%", PathError::BadEscape),
        ("", "apps", PathError::NoLeadingSlash),
    ] {
        assert_eq!(router.lookup(host, path), Lookup::Refused(error), "{path}");
    }
    assert_eq!(
        found(&router, "h.test", "/x/../y"),
        Some(("all", "", "/x/../y"))
    );
}

#[test]
fn reserved_paths_match_no_app() {
    let router = router(None, &[("all", &[path("/")])]);
    for path in [
        "/.app-proxy",
        "/.app-proxy/healthz",
        "/%2eapp-proxy/x",
        "/x/../.app-proxy/",
    ] {
        assert_eq!(found(&router, "", path), None, "{path}");
    }
    assert!(found(&router, "", "/.app-proxyx").is_some());
}

#[test]
fn two_apps_cannot_have_the_same_rule() {
    let domain = HostName::parse("d.test").unwrap();
    let mut router = Router::new(Some(domain));
    router.add_app("a", &[], ()).unwrap();
    router
        .add_app("b", &[rule(Some("h.test"), Some("/x"))], ())
        .unwrap();
    for (app, rules, text, owner) in [
        ("c", vec![path("/free"), path("/apps/a/")], "/apps/a", "a"),
        (
            "c",
            vec![rule(Some("H.test."), Some("/x/"))],
            "h.test/x",
            "b",
        ),
        ("A", vec![path("/free")], "a.d.test/", "a"),
    ] {
        let Err(RouteError::Conflict(conflict)) = router.add_app(app, &rules, ()) else {
            panic!("no conflict for {text}");
        };
        assert_eq!(
            (conflict.app.as_str(), conflict.owner.as_str()),
            (app, owner)
        );
        assert_eq!(conflict.rule.to_string(), text);
    }
    // A rejected app leaves no routes behind, and an app may list a rule twice.
    router
        .add_app("c", &[path("/free"), path("/free/")], ())
        .unwrap();
    let again = router.add_app("c", &[path("/other")], ());
    assert_eq!(again, Err(RouteError::Duplicate("c".into())));
}

#[test]
fn app_names_that_are_invalid_in_paths_or_hosts_are_rejected() {
    let mut router = Router::new(None);
    for name in ["", "a/b", "a/", "..", "a b", "a%20b", "é"] {
        let error = RouteError::NameInPath(name.into());
        assert_eq!(router.add_app(name, &[path("/x")], ()), Err(error));
    }
    router.add_app("a:b", &[], ()).unwrap();
    let mut router = Router::new(Some(HostName::parse("d.test").unwrap()));
    assert_eq!(
        router.add_app("a:b", &[], ()).unwrap_err().to_string(),
        "the app name `a:b` cannot be part of a host: it has a port"
    );
}

#[test]
fn a_hundred_thousand_apps_are_distinguished() {
    let mut router = Router::new(None);
    for number in 0..100_000 {
        router
            .add_app(&format!("app-{number}"), &[], number)
            .unwrap();
    }
    for number in [0, 1, 99_999] {
        let path = format!("/apps/app-{number}/x");
        let Lookup::Found(found) = router.lookup("", &path) else {
            panic!("{path} is not found");
        };
        assert_eq!(*found.value, number);
    }
}

#[test]
fn routes_of_a_removed_app_can_be_reused() {
    let mut router = Router::new(Some(HostName::parse("d.test").unwrap()));
    router
        .add_app("a", &[path("/x"), rule(Some("h.test"), Some("/y/z"))], "a")
        .unwrap();
    let before = router.clone();
    assert!(router.remove_app("a") && !router.remove_app("a"));
    router
        .add_app("b", &[path("/x"), rule(Some("h.test"), Some("/y/z"))], "b")
        .unwrap();
    let app = |router, host, path| found(router, host, path).map(|(app, _, _)| app);
    for (host, path) in [("", "/x/1"), ("h.test", "/y/z/1")] {
        assert_eq!(
            (app(&router, host, path), app(&before, host, path)),
            (Some("b"), Some("a"))
        );
    }
    assert_eq!(
        (app(&router, "a.d.test", "/"), app(&before, "a.d.test", "/")),
        (None, Some("a"))
    );
}

proptest! {
    #[test]
    fn any_host_and_path_are_handled(host in "\\PC*", path in "/?\\PC*") {
        let router = router(Some("d.test"), &[("a", &[]), ("all", &[self::path("/")])]);
        if let Lookup::Found(found) = router.lookup(&host, &path) {
            prop_assert_eq!(format!("{}{}", found.prefix, found.remainder), path);
        }
    }
}
