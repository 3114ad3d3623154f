//! The apps of configuration files. An app of a file belongs to the members that have the file: it
//! is deleted when no file names it any more.

use std::collections::HashSet;

use app_proxy_api::apps::App;
use app_proxy_api::table::{AppSource, AppTable, Epoch};
use app_proxy_store::{FileClaim, FileClaims};

use super::{Draft, EditError, EditOutcome};

/// The file of this member, and the apps that all files name.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileScope {
    /// The key of the file.
    pub(crate) file: String,
    /// The other files that it replaces when it is applied.
    pub(crate) replaced: ReplacedFiles,
    /// The apps that files name, as the store has them.
    pub(crate) claims: FileClaims,
}

/// The files of others that a file replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplacedFiles {
    /// All of them: no other member has a file of its own.
    #[default]
    All,
    /// The files with these keys.
    These(Vec<String>),
}

impl ReplacedFiles {
    /// No file of others.
    pub(crate) const NONE: Self = Self::These(Vec::new());

    fn contains(&self, file: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(files) => files.iter().any(|replaced| replaced == file),
        }
    }
}

impl FileScope {
    /// Returns the claims of other files: first those that stay, then those that are replaced.
    fn others(&self) -> (Vec<&FileClaim>, Vec<&FileClaim>) {
        self.claims
            .files
            .iter()
            .filter(|claim| claim.file != self.file)
            .partition(|claim| !self.replaced.contains(&claim.file))
    }

    /// Returns the changes of claims when the file has `apps`.
    fn changes(&self, apps: &[App]) -> Vec<FileClaim> {
        let mut names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
        names.sort_unstable();
        let mut claims = self.claims.files.iter();
        let before = claims.find(|claim| claim.file == self.file);
        let is_same = before.map_or(&[][..], |claim| &claim.apps) == names;
        let own = (!is_same).then(|| FileClaim {
            file: self.file.clone(),
            apps: names,
        });
        let replaced = self.others().1.into_iter().map(|claim| FileClaim {
            file: claim.file.clone(),
            apps: Vec::new(),
        });
        own.into_iter().chain(replaced).collect()
    }
}

impl Draft {
    /// Applies the file: deletes apps that no file defines any more, and puts new and changed ones.
    /// Apps of the API stay, unless the file defines one of the same name.
    pub(super) fn apply_file(&mut self, apps: &[App]) -> Result<EditOutcome, EditError> {
        let files = self.scope.changes(apps);
        let (stay, _) = self.scope.others();
        let is_only_file = stay.is_empty();
        let elsewhere: HashSet<String> = stay.into_iter().flat_map(|c| c.apps.clone()).collect();
        let removed = self.removed_from_files(apps, &elsewhere);
        let differs = |app: &&App| {
            let before = self.snapshot.table.get(&app.name);
            before.is_none_or(|before| before.source != AppSource::File || before.app != **app)
        };
        let differing: Vec<App> = apps.iter().filter(differs).cloned().collect();
        let names = differing.iter().map(|app| app.name.clone());
        let outcome = EditOutcome::FileApplied {
            put: differing.len(),
            deleted: removed.clone(),
            contested: names.filter(|name| elsewhere.contains(name)).collect(),
        };
        if self.is_of_file() && is_only_file {
            self.replace_by_file(apps, &removed)?;
        } else {
            self.merge_file(differing, &removed)?;
        }
        self.files = files;
        Ok(outcome)
    }

    /// Deletes the `removed` apps and puts the `differing` ones.
    fn merge_file(&mut self, differing: Vec<App>, removed: &[String]) -> Result<(), EditError> {
        if differing.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.begin_unique_epoch()?;
        for name in removed {
            self.remove_app(name);
        }
        // Remove all before adding any: one may get the route of another.
        let unroute = |app: App| {
            let routed = self.snapshot.unroute(&app.name);
            (app, routed)
        };
        let unrouted: Vec<_> = differing.into_iter().map(unroute).collect();
        for (app, routed) in unrouted {
            self.insert(app, AppSource::File, None, routed.as_deref())?;
        }
        Ok(())
    }

    /// Returns the apps of files that neither `apps` nor the files of others define.
    fn removed_from_files(&self, apps: &[App], elsewhere: &HashSet<String>) -> Vec<String> {
        let names: HashSet<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        let of_file = self
            .snapshot
            .table
            .iter()
            .filter(|app| app.source == AppSource::File);
        of_file
            .map(|app| app.app.name.clone())
            .filter(|name| !names.contains(name.as_str()) && !elsewhere.contains(name))
            .collect()
    }

    /// Replaces a table of the file alone when the file changes. The epoch is that of the new file.
    fn replace_by_file(&mut self, apps: &[App], removed: &[String]) -> Result<(), EditError> {
        if *self.snapshot.table.epoch() == Epoch::of_file(apps) {
            return Ok(());
        }
        self.deleted.extend(
            removed
                .iter()
                .filter_map(|name| self.snapshot.get(name).cloned()),
        );
        self.snapshot = self.snapshot.rebuilt(AppTable::from_file(apps.to_vec()))?;
        self.put.extend(apps.iter().map(|app| app.name.clone()));
        Ok(())
    }
}
