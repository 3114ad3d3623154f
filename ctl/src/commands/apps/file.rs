//! Files with apps: YAML or JSON; one app, a list, or a list under `apps:`.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;

use app_proxy_api::apps::{App, AppError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// Keys that the API adds to an app. They are passed over, so that what `apps get` wrote can be put
/// back.
const ADDED: [&str; 3] = ["revision", "source", "updated_at"];

/// What a file has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AppsFile {
    /// Its apps: one at least, all valid, with different names.
    pub(super) apps: Vec<App>,
    /// Whether the file has a list, be it of one.
    pub(super) is_list: bool,
}

/// Why there are no apps in a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, io::Error),
    #[error("{0}: {1}")]
    Malformed(String, String),
    #[error("{0}: {1}: {2}")]
    Invalid(String, String, AppError),
}

impl AppsFile {
    /// Reads a file; `-` is standard input.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let name = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let text = if path == Path::new("-") {
            from_stdin()
        } else {
            std::fs::read_to_string(path)
        };
        let text = text.map_err(|e| FileError::Unreadable(name.clone(), e))?;
        let file =
            Self::parse(&text).map_err(|problem| FileError::Malformed(name.clone(), problem))?;
        for app in &file.apps {
            app.validate()
                .map_err(|e| FileError::Invalid(name.clone(), app.name.clone(), e))?;
        }
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut value: Value = parse(text)?;
        let is_list = value.is_sequence() || value.get("apps").is_some();
        let read_back = remove_added(&mut value);
        // Errors have a line only when they come from the text.
        let apps = match (is_list, read_back) {
            (true, false) if value.is_sequence() => parse::<Vec<App>>(text)?,
            (true, false) => parse::<Many>(text)?.apps,
            (true, true) if value.is_sequence() => from_value::<Vec<App>>(value)?,
            (true, true) => from_value::<Many>(value)?.apps,
            (false, false) => vec![parse::<App>(text)?],
            (false, true) => vec![from_value::<App>(value)?],
        };
        let mut names = HashSet::new();
        match apps.iter().find(|app| !names.insert(&app.name)) {
            Some(twice) => Err(format!("{} is there twice", twice.name)),
            None if apps.is_empty() => Err("there is no app in it".to_owned()),
            None => Ok(Self { apps, is_list }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    apps: Vec<App>,
}

fn from_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// JSON is YAML, but for tabs in its indentation.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(_) => serde_yaml::from_str(text).map_err(|e| e.to_string()),
    }
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_yaml::from_value(value).map_err(|e| e.to_string())
}

/// Takes out what the API has added; says whether there was anything.
fn remove_added(value: &mut Value) -> bool {
    match value {
        Value::Sequence(apps) => apps
            .iter_mut()
            .fold(false, |found, app| remove_added(app) | found),
        Value::Mapping(map) => match map.get_mut("apps") {
            Some(apps) => remove_added(apps),
            None => ADDED
                .iter()
                .fold(false, |found, key| map.shift_remove(key).is_some() | found),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> (Vec<String>, bool) {
        let file = AppsFile::parse(text).unwrap();
        (
            file.apps.into_iter().map(|app| app.name).collect(),
            file.is_list,
        )
    }

    fn complaint(text: &str) -> String {
        AppsFile::parse(text).unwrap_err()
    }

    #[test]
    fn one_app_a_list_and_a_list_under_apps_are_read() {
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            names("name: a\nendpoints: [{address: 'h:1'}]"),
            (vec!["a".to_owned()], false)
        );
        assert_eq!(names("- name: a\n- name: b\n"), (both.clone(), true));
        assert_eq!(names("apps:\n- name: a\n- name: b\n"), (both.clone(), true));
        assert_eq!(
            names("{\n\t\"apps\": [\n\t\t{\"name\": \"a\"}, {\"name\": \"b\"}\n\t]\n}"),
            (both, true)
        );
    }

    #[test]
    fn what_the_api_shows_can_be_put_back() {
        let added = "revision: 3\nsource: api\nupdated_at: 2026-11-23T04:21:24Z\n";
        assert_eq!(
            names(&format!("name: a\n{added}")),
            (vec!["a".to_owned()], false)
        );
        assert_eq!(
            names("[{\"name\":\"a\",\"revision\":3,\"source\":\"api\"}]"),
            (vec!["a".to_owned()], true)
        );
        assert_eq!(
            names("apps: [{name: a, revision: 3}]"),
            (vec!["a".to_owned()], true)
        );
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        for text in [
            "name: a\nendpoint: []\n",
            "- name: a\n  endpoint: []\n",
            "apps:\n- name: a\n  endpoint: []\n",
        ] {
            let problem = complaint(text);
            assert!(
                problem.contains("unknown field `endpoint`") && problem.contains("line"),
                "{problem}"
            );
        }
        assert!(
            complaint("name: a\nrevision: 3\nendpoint: []\n").contains("unknown field `endpoint`")
        );
        assert!(complaint("apps: []\nmore: 1\n").contains("unknown field `more`"));
    }

    #[test]
    fn files_without_apps_and_with_an_app_twice_are_refused() {
        for text in ["[]", "apps: []"] {
            assert_eq!(complaint(text), "there is no app in it");
        }
        for text in ["", "just text", "name: A", "12"] {
            assert!(AppsFile::parse(text).is_err(), "{text}");
        }
        assert_eq!(complaint("- name: a\n- name: a\n"), "a is there twice");
    }

    #[test]
    fn what_is_not_valid_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apps.yaml");
        std::fs::write(
            &path,
            "- name: a\n- {name: b, endpoints: [{address: 'h:1', weight: 0}]}\n",
        )
        .unwrap();
        let problem = AppsFile::read(&path).unwrap_err().to_string();
        assert!(
            problem.contains("apps.yaml: b: endpoints[0].weight: 0 would never"),
            "{problem}"
        );
    }
}
