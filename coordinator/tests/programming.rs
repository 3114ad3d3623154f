//! The tests that docs/how-to/programming.md shows: a policy alone, and one in front of requests.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

use app_proxy_coordinator::{
    Access, AccessRequest, App, Config, Coordinator, Decision, Identity, async_trait,
};

/// Lets clients in that name themselves.
struct Guests;

#[async_trait]
impl Access for Guests {
    async fn check(&self, request: &AccessRequest<'_>) -> Decision {
        let name = request.headers().get("x-name");
        match name.and_then(|name| Identity::user(name.to_str().ok()?).ok()) {
            Some(guest) => Decision::Allow(guest),
            None => Decision::deny(),
        }
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_denied() -> Result<(), Box<dyn Error>> {
    let app: App = serde_json::from_str(r#"{"name": "notes"}"#)?;
    let (anna, ()) = http::Request::get("/apps/notes/")
        .header("x-name", "anna")
        .body(())?
        .into_parts();
    let request = AccessRequest::new(&anna).with_app(&app);
    let decision = Guests.check(&request).await;
    assert!(matches!(decision, Decision::Allow(guest) if guest.name() == Some("anna")));

    let (stranger, ()) = http::Request::get("/apps/notes/").body(())?.into_parts();
    let decision = Guests.check(&AccessRequest::new(&stranger)).await;
    assert_eq!(decision, Decision::deny());
    Ok(())
}

const CONFIG: &str = "
version: 1
coordinator:
  listeners: [{address: '127.0.0.1:0'}]
  admin: {address: '127.0.0.1:0'}
  store: {kind: memory}
  access_log: {path: access.log}
";

#[test]
fn a_coordinator_with_the_policy_denies_strangers() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = Config::parse(CONFIG, folder.path())?;
    let running = Coordinator::builder(config)
        .access(Guests)
        .build()?
        .start()?;
    for (name, status) in [("", "403"), ("x-name: anna\r\n", "404")] {
        let public = running.addresses.public.first().ok_or("no listener")?;
        let mut client = TcpStream::connect(public.to_string())?;
        let head = "GET /apps/notes/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        write!(client, "{head}{name}\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        assert!(answer.contains(status), "{name}: {answer}");
    }
    running.stop();
    Ok(())
}
