//! A coordinator that lets teams in: each has a token and reaches the apps whose names begin with
//! its own name (`blue-notes`; `blue-sky-notes` too, unless there is a team `blue-sky`). A line of
//! `TEAMS_FILE` is `blue 0c7a5b…`; the flags are those of `app-proxy-coordinator`.

use std::collections::HashMap;
use std::process::ExitCode;

use app_proxy_coordinator::{
    Access, AccessRequest, Decision, Identity, Reply, async_trait, daemon,
};
use http::{HeaderValue, header};
use sha2::{Digest, Sha256};

/// The teams by the hash of their tokens: the time of a look-up tells nothing about a token.
struct Teams(HashMap<[u8; 32], String>);

impl Teams {
    fn read() -> std::io::Result<Self> {
        let path = std::env::var_os("TEAMS_FILE").unwrap_or_else(|| "teams".into());
        let text = std::fs::read_to_string(path)?;
        let teams = text.lines().filter_map(|line| line.split_once(' '));
        let teams = teams.map(|(team, token)| (hash(token.trim()), team.to_owned()));
        Ok(Self(teams.collect()))
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[async_trait]
impl Access for Teams {
    async fn check(&self, request: &AccessRequest<'_>) -> Decision {
        let value = request.headers().get(header::AUTHORIZATION);
        let token = value.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some(team) = token.and_then(|token| self.0.get(&hash(token))) else {
            let challenge = HeaderValue::from_static("Bearer realm=\"teams\"");
            return Decision::Challenge(Reply::unauthorized(challenge));
        };
        // An app of another team and an app that does not exist look the same.
        let name = request.app().map_or("", |app| app.name.as_str());
        let rest = |team: &String| name.strip_prefix(team.as_str())?.strip_prefix('-');
        let owners = self.0.values().filter(|team| rest(team).is_some());
        let owner = owners.max_by_key(|team| team.len());
        match Identity::user(team) {
            Ok(identity) if owner == Some(team) => Decision::Allow(identity),
            _ => Decision::deny(),
        }
    }
}

fn main() -> ExitCode {
    daemon::main(|builder| {
        builder.access(Teams::read().unwrap_or_else(|error| {
            eprintln!("team_access: cannot read the teams: {error}");
            std::process::exit(1)
        }))
    })
}
