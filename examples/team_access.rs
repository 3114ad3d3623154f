//! A coordinator that lets teams in: each has a token and reaches the apps whose names begin with
//! its own name (`blue-notes` is an app of `blue`). `TEAMS_FILE` names a file with a line
//! `blue 0c7a5b…` for each team; the flags are those of `app-proxy-coordinator`.

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
        let app = request.app().and_then(|app| app.name.split_once('-'));
        match Identity::user(team) {
            Ok(identity) if app.is_some_and(|(owner, _)| owner == team) => {
                Decision::Allow(identity)
            }
            _ => Decision::deny(),
        }
    }
}

fn main() -> ExitCode {
    match Teams::read() {
        Ok(teams) => daemon::main(|builder| builder.access(teams)),
        Err(error) => {
            eprintln!("team_access: cannot read the teams: {error}");
            ExitCode::FAILURE
        }
    }
}
