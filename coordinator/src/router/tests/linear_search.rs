//! A property test: a lookup finds the same route as a linear search.

use super::*;

/// A reference implementation: a linear search.
struct Linear {
    domain: Option<String>,
    rules: Vec<(usize, Rule)>,
    names: Vec<(usize, String)>,
}

impl Linear {
    /// Finds app and prefix for a canonical host and a normalised path.
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
        removed in prop::collection::vec(any::<bool>(), 6),
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
        for app in (0..apps.len()).filter(|app| removed[*app]) {
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
}
