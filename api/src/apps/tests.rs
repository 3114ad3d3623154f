//! Tests of apps: defaults, validation, and serialisation.

use super::*;

fn app(yaml: &str) -> Result<App, serde_yaml::Error> {
    serde_yaml::from_str(yaml)
}

#[test]
fn the_defaults_are_strip_and_session() {
    let app = app("{name: a, endpoints: [{address: '127.0.0.1:1'}]}").unwrap();
    assert_eq!(
        (app.upstream_path, app.affinity),
        (UpstreamPath::Strip, Affinity::Session)
    );
    assert_eq!(app.endpoints[0].weight, 1);
    assert_eq!(app.validate(), Ok(()));
}

#[test]
fn names_are_dns_labels() {
    for good in ["a", "a-1", "0", &"x".repeat(63)] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "-a",
        "a-",
        "A",
        "a.b",
        "a/b",
        "a b",
        "..",
        &"x".repeat(64),
    ] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn invalid_apps_are_rejected() {
    assert!(app("{name: a, endpoint: []}").is_err(), "a misspelt key");
    assert!(app("{name: a, match: [{}]}").unwrap().validate().is_err());
    assert!(app("{name: a, match: [{path: null, host: h}]}").is_err());
    assert!(app("{name: a, match: [{path: /x, host: }]}").is_err());
    assert!(
        app("{name: a, match: [{path: /x}, {path: /x}]}")
            .unwrap()
            .validate()
            .is_err()
    );
    assert!(
        app("{name: a, endpoints: [{address: 'h:1', weight: 0}]}")
            .unwrap()
            .validate()
            .is_err()
    );
    assert!(
        app("{name: a, endpoints: [{address: 'h:1'}, {address: 'h:1'}]}")
            .unwrap()
            .validate()
            .is_err()
    );
}

#[test]
fn serialised_apps_are_deserialised_unchanged() {
    let yaml = "{name: a, match: [{host: h}], upstream_path: keep, affinity: none, \
                timeouts: {read: 2m}}";
    let app = app(yaml).unwrap();
    let json = serde_json::to_string(&app).unwrap();
    assert_eq!(serde_json::from_str::<App>(&json).unwrap(), app);
}
