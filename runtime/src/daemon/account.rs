//! The account of a daemon in the background: `user` and `group`.

use std::ffi::CString;

use log::warn;
use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups};
use pingora_core::server::configuration::ServerConf;

use crate::config::{ConfigError, ConfigFile};

/// The user and the group that a configuration names.
pub(super) struct Account {
    user: Option<User>,
    group: Option<Group>,
}

impl Account {
    /// Finds the user and the group of a configuration.
    ///
    /// # Errors
    /// If this host does not know one of them.
    pub(super) fn find(file: &ConfigFile, conf: &ServerConf) -> Result<Self, ConfigError> {
        let user = conf.user.as_deref();
        let user = user.map(|name| known(file, "user", name, User::from_name));
        let group = conf.group.as_deref();
        let group = group.map(|name| known(file, "group", name, Group::from_name));
        Ok(Self {
            user: user.transpose()?,
            group: group.transpose()?,
        })
    }

    /// The number of the user; `None` keeps that of this process.
    pub(super) fn uid(&self) -> Option<Uid> {
        self.user.as_ref().map(|user| user.uid)
    }

    /// The number of the group: that of `group`, or the primary one of the user. `None` keeps that
    /// of this process, as a process that is not root must without `group`.
    pub(super) fn gid(&self) -> Option<Gid> {
        let named = self.group.as_ref().map(|group| group.gid);
        named.or_else(|| {
            let user = self.user.as_ref().filter(|_| geteuid().is_root());
            user.map(|user| user.gid)
        })
    }

    /// Gives the process the supplementary groups of the user, if it may do so: a process that is
    /// not root keeps its own.
    pub(super) fn set_groups(&self) {
        let Some(user) = &self.user else {
            return;
        };
        if let Ok(name) = CString::new(user.name.as_str())
            && let Err(e) = initgroups(&name, user.gid)
        {
            warn!("cannot set the groups of user {}: {e}", user.name);
        }
    }
}

/// Returns the account that `find` has under the name in `key`.
fn known<T>(
    file: &ConfigFile,
    key: &str,
    name: &str,
    find: fn(&str) -> nix::Result<Option<T>>,
) -> Result<T, ConfigError> {
    let problem = match find(name) {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => format!("this host does not know `{name}`"),
        Err(e) => format!("{name}: {}", e.desc()),
    };
    Err(file.fault_of(&format!("{key}:"), key, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(user: Option<&str>, group: Option<&str>) -> ServerConf {
        ServerConf {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
            ..ServerConf::default()
        }
    }

    #[test]
    fn an_unknown_user_or_group_is_named_with_its_key() {
        let text = "version: 1\nuser: no-such-name\ngroup: no-such-name\n";
        let file = ConfigFile::from_text("c.yaml", text);
        let error = |conf| Account::find(&file, &conf).err().unwrap().to_string();
        assert_eq!(
            error(conf(Some("no-such-name"), None)),
            "c.yaml:2: user: this host does not know `no-such-name`"
        );
        assert_eq!(
            error(conf(Some("root"), Some("no-such-name"))),
            "c.yaml:3: group: this host does not know `no-such-name`"
        );
    }

    #[test]
    fn root_takes_the_primary_group_of_the_user_unless_a_group_is_named() {
        let file = ConfigFile::from_text("c.yaml", "");
        let primary = User::from_name("nobody").unwrap().unwrap().gid;
        let account = Account::find(&file, &conf(Some("nobody"), None)).unwrap();
        assert_eq!(account.gid(), geteuid().is_root().then_some(primary));
        let account = Account::find(&file, &conf(Some("nobody"), Some("root"))).unwrap();
        assert_eq!(account.gid(), Some(Gid::from_raw(0)));
        let account = Account::find(&file, &conf(None, None)).unwrap();
        assert_eq!((account.uid(), account.gid()), (None, None));
    }
}
