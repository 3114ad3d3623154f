//! Files with apps, in YAML or JSON: one app, a list, or a list under `apps:`.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;

use app_proxy_api::apps::{App, AppError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// Keys that the API adds to an app. They are ignored, so that the output of `apps get` is a valid
/// file.
const ADDED: [&str; 4] = ["revision", "source", "updated_at", "served_by"];

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AppsFile {
    /// The apps: at least one, all valid, with different names.
    pub(super) apps: Vec<App>,
    /// True if the file has a list, even of one app.
    pub(super) is_list: bool,
}

/// An invalid file.
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
        let from_api = remove_added(&mut value);
        // Only errors of parsing the text have a line.
        let apps = match (is_list, from_api) {
            (true, false) if value.is_sequence() => parse::<Vec<App>>(text)?,
            (true, false) => parse::<Many>(text)?.apps,
            (true, true) if value.is_sequence() => from_value::<Vec<App>>(value)?,
            (true, true) => from_value::<Many>(value)?.apps,
            (false, false) => vec![parse::<App>(text)?],
            (false, true) => vec![from_value::<App>(value)?],
        };
        let mut names = HashSet::new();
        match apps.iter().find(|app| !names.insert(&app.name)) {
            Some(twice) => Err(format!("{} is listed twice", twice.name)),
            None if apps.is_empty() => Err("the file has no app".to_owned()),
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

/// Parses YAML or JSON. JSON is tried first: indented with tabs, it is not YAML.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(_) => serde_yaml::from_str(text).map_err(|e| e.to_string()),
    }
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_yaml::from_value(value).map_err(|e| e.to_string())
}

/// Removes the keys that the API adds, and returns whether there were any.
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

    fn error_of(text: &str) -> String {
        AppsFile::parse(text).unwrap_err()
    }

    #[test]
    fn one_app_a_list_and_a_list_under_apps_are_valid() {
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
    fn output_of_the_api_is_a_valid_file() {
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
    fn unknown_keys_are_rejected_with_their_line() {
        for text in [
            "name: a\nendpoint: []\n",
            "- name: a\n  endpoint: []\n",
            "apps:\n- name: a\n  endpoint: []\n",
        ] {
            let problem = error_of(text);
            assert!(
                problem.contains("unknown field `endpoint`") && problem.contains("line"),
                "{problem}"
            );
        }
        assert!(
            error_of("name: a\nrevision: 3\nendpoint: []\n").contains("unknown field `endpoint`")
        );
        assert!(error_of("apps: []\nmore: 1\n").contains("unknown field `more`"));
    }

    #[test]
    fn files_need_an_app_and_unique_names() {
        for text in ["[]", "apps: []"] {
            assert_eq!(error_of(text), "the file has no app");
        }
        for text in ["", "just text", "name: A", "12"] {
            assert!(AppsFile::parse(text).is_err(), "{text}");
        }
        assert_eq!(error_of("- name: a\n- name: a\n"), "a is listed twice");
    }

    #[test]
    fn errors_name_the_file_the_app_and_the_field() {
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
