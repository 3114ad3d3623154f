//! Tests of addresses, tokens and unreachable coordinators.

use serde_json::json;

use crate::api::{Asked, FakeApi, Reply};
use crate::run::{NOBODY, Place};

fn guarded() -> FakeApi {
    FakeApi::start(|asked: &Asked| match asked.header("authorization") {
        Some("Bearer secret") => Reply::json(json!({"items": [], "next_cursor": null})),
        _ => Reply::problem(401, "unauthenticated", "This call needs a bearer token."),
    })
}

const LIST: [&str; 4] = ["workers", "list", "-o", "json"];

#[test]
fn a_rejected_token_exits_with_4_and_names_its_file() {
    let api = guarded();
    let place = Place::bare();
    place.file("wrong.token", "guess\n");
    let ran = place.run(
        &[
            &LIST[..],
            &["-a", &api.url(), "--token-file", "wrong.token"],
        ]
        .concat(),
    );
    let expected = format!(
        "app-proxyctl: {} rejects the token of wrong.token\n",
        api.url()
    );
    assert_eq!((ran.code, ran.err), (4, expected));
    let ran = place.run(&[&LIST[..], &["-a", &api.url()]].concat());
    assert_eq!(ran.code, 4);
    assert!(
        ran.err
            .contains("needs a token: name its file with --token-file"),
        "{ran:?}"
    );
}

#[test]
fn an_unreachable_coordinator_exits_with_4() {
    let address = NOBODY;
    let ran = Place::bare().run(&["apps", "list", "-a", address]);
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.starts_with(&format!(
            "app-proxyctl: http://{address} cannot be reached: "
        )),
        "{ran:?}"
    );
    assert!(ran.err.contains("Connection refused"), "{ran:?}");
}

#[test]
fn another_server_exits_with_1() {
    let page = FakeApi::start(|_| Reply::text(404, "<html>nothing here</html>"));
    let ran = Place::of(&page).run(&["apps", "list"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("answers 404 Not Found, but not as an admin listener does"),
        "{ran:?}"
    );
    let other = FakeApi::start(|_| Reply::text(200, "<html>hello</html>"));
    let ran = Place::of(&other).run(&["apps", "list"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("sent an unreadable response"), "{ran:?}");
}

#[test]
fn the_settings_file_and_the_folders_token_are_used() {
    let api = guarded();
    let place = Place::bare();
    place.file(
        ".config/app-proxy/ctl.yaml",
        &format!("address: {}\n", api.url()),
    );
    place.file("run/admin.token", "secret\n");
    assert_eq!(place.run(&LIST).json(), json!([]));
}

#[test]
fn invalid_settings_are_usage_errors() {
    let place = Place::bare();
    place.file("wrong.yaml", "adress: http://h:1\n");
    for args in [
        &["--config", "wrong.yaml"][..],
        &["--config", "nothing.yaml"],
        &["--token-file", "nothing.token"],
        &["--address", "https://h:1"],
        &["--addres", "http://h:1"],
    ] {
        let ran = place.run(&[&LIST[..], args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(!ran.err.is_empty());
    }
}

#[test]
fn a_token_readable_by_others_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let api = guarded();
    let place = Place::bare();
    let file = place.file(
        "ctl.yaml",
        &format!("address: {}\ntoken: secret\n", api.url()),
    );
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = place.run(&[&LIST[..], &["--config", "ctl.yaml"]].concat());
    assert_eq!((ran.code, ran.json()), (0, json!([])));
    assert!(
        ran.err
            .contains("can be read by others: chmod 600 ctl.yaml"),
        "{ran:?}"
    );
}

#[test]
fn help_and_completion_need_no_coordinator() {
    let place = Place::bare();
    let help = place.run(&["--help"]);
    assert!(
        help.code == 0 && help.out.contains("Exit codes:"),
        "{help:?}"
    );
    assert_eq!(place.run(&[]).code, 2);
    for (shell, mark) in [
        ("bash", "complete "),
        ("zsh", "#compdef app-proxyctl"),
        ("fish", "complete -c app-proxyctl"),
    ] {
        let script = place.run(&["completion", shell]);
        assert!(script.code == 0 && script.out.contains(mark), "{shell}");
    }
}
