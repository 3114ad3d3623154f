//! Tests of the router: the order of the rules by name, and a property against a linear search.

use proptest::prelude::*;

use super::*;

/// Apps by name and `match` list, each with its name as the value.
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

/// The app, its prefix and the remainder of a lookup that finds.
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
fn an_app_without_rules_answers_on_its_name() {
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
fn an_app_with_rules_answers_on_them_only() {
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
fn a_host_whose_rules_do_not_fit_the_path_falls_through() {
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
fn case_port_and_dot_of_the_host_do_not_matter() {
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
fn a_path_that_leads_out_of_its_prefix_is_refused() {
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
fn what_the_coordinator_keeps_for_itself_is_no_apps() {
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
fn two_apps_cannot_have_the_same_match() {
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
    // What was refused has left nothing behind, and an app may repeat itself.
    router
        .add_app("c", &[path("/free"), path("/free/")], ())
        .unwrap();
    let again = router.add_app("c", &[path("/other")], ());
    assert_eq!(again, Err(RouteError::Duplicate("c".into())));
}

#[test]
fn an_app_name_that_no_path_or_host_can_have_is_refused() {
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
fn a_hundred_thousand_apps_are_told_apart() {
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
fn what_an_app_answered_on_is_free_again_once_it_is_gone() {
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

/// The rules, searched one by one.
struct Linear {
    domain: Option<String>,
    rules: Vec<(usize, Rule)>,
    names: Vec<(usize, String)>,
}

impl Linear {
    /// The app and the prefix for a host in its one spelling and a normalised path.
    fn find(&self, host: &str, path: &[u8]) -> Option<(usize, &str)> {
        let of_host = |rule: &Rule| rule.host().is_some_and(|own| own.as_str() == host);
        let own = self.names.iter().find(|(_, name)| {
            let domain = self.domain.as_ref();
            domain.is_some_and(|domain| host == format!("{name}.{domain}"))
        });
        self.longest(path, of_host)
            .or_else(|| own.map(|(app, _)| (*app, "")))
            .or_else(|| self.longest(path, |rule| rule.host().is_none()))
    }

    fn longest(&self, path: &[u8], level: impl Fn(&Rule) -> bool) -> Option<(usize, &str)> {
        let fits = |rule: &Rule| {
            let rest = path.strip_prefix(rule.prefix().as_bytes());
            level(rule) && rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.rules
            .iter()
            .filter(|(_, rule)| fits(rule))
            .max_by_key(|(_, rule)| rule.prefix().len())
            .map(|(app, rule)| (*app, rule.prefix()))
    }
}

fn hosts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "h.test",
        "i.test",
        "app0.d.test",
        "app1.d.test",
        "[::1]",
    ])
}

fn rules() -> impl Strategy<Value = Rule> {
    let path = "(/[ab]{1,2}){1,4}/?|/|/apps/app[0-3]";
    (prop::option::of(hosts()), path).prop_map(|(host, path)| rule(host, Some(&path)))
}

proptest! {
    #[test]
    fn a_lookup_finds_what_a_linear_search_finds(
        domain in prop::option::of(Just("d.test")),
        apps in prop::collection::vec(prop::collection::vec(rules(), 0..4), 0..6),
        requests in prop::collection::vec(
            (hosts(), "(/(a|b|aa|ab|apps|app0|app1|app2|\\.\\.|%61)?){0,6}"),
            1..20,
        ),
        gone in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut router = Router::new(domain.map(|domain| HostName::parse(domain).unwrap()));
        let mut linear = Linear {
            domain: domain.map(str::to_owned),
            rules: Vec::new(),
            names: Vec::new(),
        };
        for (app, rules) in apps.iter().enumerate() {
            let name = format!("app{app}");
            if router.add_app(&name, rules, app).is_err() {
                continue;
            }
            linear.names.push((app, name.clone()));
            if rules.is_empty() {
                linear.rules.push((app, path(&format!("/apps/{name}"))));
            }
            linear.rules.extend(rules.iter().map(|rule| (app, rule.clone())));
        }
            for app in (0..apps.len()).filter(|app| gone[*app]) {
            let was_there = linear.names.iter().any(|(own, _)| *own == app);
            prop_assert_eq!(router.remove_app(&format!("app{app}")), was_there);
            linear.names.retain(|(own, _)| *own != app);
            linear.rules.retain(|(own, _)| *own != app);
        }
        for (host, raw) in requests {
            let lookup = router.lookup(host, &raw);
            let Ok(normalised) = NormalisedPath::parse(&raw) else {
                prop_assert!(matches!(lookup, Lookup::Refused(_)));
                continue;
            };
            match linear.find(host, normalised.as_bytes()) {
                None => prop_assert_eq!(lookup, Lookup::NotFound),
                Some((app, prefix)) => match (lookup, normalised.remainder(prefix)) {
                    (Lookup::Refused(error), expected) => prop_assert_eq!(Err(error), expected),
                    (Lookup::Found(found), Ok(rest)) => {
                        prop_assert_eq!((*found.value, found.prefix), (app, prefix));
                        prop_assert_eq!(found.remainder, rest);
                        prop_assert!(!rest.is_empty());
                    }
                    (Lookup::RedirectToSlash(found), Ok("")) => {
                        prop_assert_eq!((*found.value, found.prefix), (app, prefix));
                        prop_assert_eq!(prefix.as_bytes(), normalised.as_bytes());
                    }
                    (lookup, expected) => {
                        return Err(TestCaseError::fail(format!("{lookup:?}, not {expected:?}")));
                    }
                },
            }
        }
    }

    #[test]
    fn any_host_and_path_are_answered(host in "\\PC*", path in "/?\\PC*") {
        let router = router(Some("d.test"), &[("a", &[]), ("all", &[self::path("/")])]);
        if let Lookup::Found(found) = router.lookup(&host, &path) {
            prop_assert_eq!(format!("{}{}", found.prefix, found.remainder), path);
        }
    }
}
