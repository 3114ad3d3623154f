//! Tests of the order of settings, and of their validation.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Place {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let variables = BTreeMap::from([(HOME.to_owned(), folder.path().display().to_string())]);
        let environment = Environment {
            variables,
            folder: folder.path().to_owned(),
        };
        Self {
            folder,
            environment,
        }
    }

    fn with_file(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment
            .variables
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn find(&self, flags: &ConnectionArgs) -> Result<Settings, SettingsError> {
        Settings::find(flags, &self.environment)
    }

    fn found(&self, flags: &ConnectionArgs) -> (String, Option<String>) {
        let settings = self.find(flags).unwrap();
        (
            settings.address.to_string(),
            settings.token.map(|token| token.secret),
        )
    }
}

const FILE: &str = ".config/app-proxy/ctl.yaml";

fn none() -> ConnectionArgs {
    ConnectionArgs::default()
}

fn result(address: &str, token: &str) -> (String, Option<String>) {
    (address.to_owned(), Some(token.to_owned()))
}

#[test]
fn the_default_is_this_host_without_a_token() {
    assert_eq!(
        Place::new().found(&none()),
        ("http://127.0.0.1:8081/".to_owned(), None)
    );
}

#[test]
fn flags_precede_the_environment_the_file_and_the_defaults() {
    let place = Place::new().with_file("run/admin.token", "of-the-folder\n");
    assert_eq!(
        place.found(&none()),
        result("http://127.0.0.1:8081/", "of-the-folder")
    );

    let place = place.with_file(FILE, "address: http://file:1\ntoken_file: file.token\n");
    let place = place.with_file(".config/app-proxy/file.token", "of-the-file");
    assert_eq!(
        place.found(&none()),
        result("http://file:1/", "of-the-file")
    );

    let named = place.path("named.token").display().to_string();
    let place = place
        .with_file("named.token", "of-the-variable")
        .with_variable(TOKEN_FILE, &named);
    let place = place.with_variable(ADDRESS, "http://variable:2");
    assert_eq!(
        place.found(&none()),
        result("http://variable:2/", "of-the-variable")
    );

    let place = place.with_variable(TOKEN, "itself");
    assert_eq!(place.found(&none()), result("http://variable:2/", "itself"));

    let place = place.with_file("flag.token", "of-the-flag\n");
    let flags = ConnectionArgs {
        address: Some("flag:3".to_owned()),
        token_file: Some(place.path("flag.token")),
        ..ConnectionArgs::default()
    };
    assert_eq!(place.found(&flags), result("http://flag:3/", "of-the-flag"));
}

#[test]
fn empty_variables_are_ignored() {
    let place = Place::new()
        .with_variable(ADDRESS, "")
        .with_variable(TOKEN, "")
        .with_variable(TOKEN_FILE, "");
    assert_eq!(place.found(&none()).1, None);
}

#[test]
fn the_folders_token_is_sent_to_this_host_only() {
    let place = Place::new().with_file("run/admin.token", "of-the-folder");
    for (address, goes) in [
        ("http://localhost:1", true),
        ("http://[::1]:1", true),
        ("127.0.0.2:1", true),
        ("http://10.0.0.5:8081", false),
        ("http://localhost.example.com:1", false),
    ] {
        let flags = ConnectionArgs {
            address: Some(address.to_owned()),
            ..none()
        };
        assert_eq!(place.found(&flags).1.is_some(), goes, "{address}");
    }
}

#[test]
fn xdg_config_home_moves_the_settings_file() {
    let place = Place::new().with_file("elsewhere/app-proxy/ctl.yaml", "address: http://h:1");
    let elsewhere = place.path("elsewhere").display().to_string();
    let place = place.with_variable(CONFIG_HOME, &elsewhere);
    assert_eq!(place.found(&none()).0, "http://h:1/");
}

#[test]
fn a_named_file_must_exist() {
    let place = Place::new();
    let flags = ConnectionArgs {
        config: Some(place.path("nothing.yaml")),
        ..none()
    };
    assert!(
        place
            .find(&flags)
            .unwrap_err()
            .to_string()
            .contains("nothing.yaml: cannot be read")
    );
    let flags = ConnectionArgs {
        token_file: Some(place.path("nothing.token")),
        ..none()
    };
    assert!(
        place
            .find(&flags)
            .unwrap_err()
            .to_string()
            .contains("nothing.token: cannot be read")
    );
}

#[test]
fn unknown_keys_are_rejected_with_their_line() {
    let place = Place::new().with_file(FILE, "address: http://h:1\ntokenfile: x\n");
    let text = place.find(&none()).unwrap_err().to_string();
    assert!(
        text.contains("ctl.yaml: unknown field `tokenfile`") && text.contains("line 2"),
        "{text}"
    );
}

#[test]
fn an_empty_file_is_valid_and_two_tokens_are_not() {
    let place = Place::new().with_file(FILE, "# nothing yet\n");
    assert_eq!(place.found(&none()).1, None);
    let place = place.with_file(FILE, "token: a\ntoken_file: b\n");
    assert!(place.find(&none()).is_err());
}

#[test]
fn a_token_readable_by_others_is_a_warning() {
    let place = Place::new().with_file(FILE, "token: secret");
    assert!(place.find(&none()).unwrap().warnings.is_empty());
    std::fs::set_permissions(place.path(FILE), Permissions::from_mode(0o640)).unwrap();
    let settings = place.find(&none()).unwrap();
    assert!(
        settings.warnings[0].contains("can be read by others"),
        "{:?}",
        settings.warnings
    );
    assert!(
        !format!("{settings:?}").contains("secret"),
        "a token is in diagnostics"
    );
}

#[test]
fn a_tilde_is_the_home_folder() {
    let place = Place::new()
        .with_file("tokens/admin", "mine")
        .with_file(FILE, "token_file: ~/tokens/admin");
    assert_eq!(place.found(&none()).1.as_deref(), Some("mine"));
}

#[test]
fn invalid_addresses_are_rejected() {
    for bad in [
        "https://h:1",
        "unix:/run/x",
        "ftp://h",
        "http://",
        "",
        "http://user:pw@h:1",
        "http://h:1/?a=b",
        "h h:1",
    ] {
        let flags = ConnectionArgs {
            address: Some(bad.to_owned()),
            ..none()
        };
        assert!(Place::new().find(&flags).is_err(), "{bad}");
    }
}

#[test]
fn invalid_tokens_are_rejected() {
    for bad in ["", "\n", "two words", "caf\u{e9}"] {
        let place = Place::new().with_file("t", bad);
        let flags = ConnectionArgs {
            token_file: Some(place.path("t")),
            ..none()
        };
        assert!(place.find(&flags).is_err(), "{bad:?}");
    }
}
