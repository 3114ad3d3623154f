//! The admin API of a coordinator, for schedulers that change apps: with a connection for each
//! call, or with one that is kept.

use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http1::{Client, Request, Response};

/// The address and the token of a coordinator's API; independent of a borrow of the cluster.
#[derive(Clone, Debug)]
pub struct Api {
    addr: SocketAddr,
    authorization: String,
}

impl Api {
    /// Returns the API at `addr` with `token`.
    #[must_use]
    pub fn new(addr: SocketAddr, token: &str) -> Self {
        Self {
            addr,
            authorization: format!("Bearer {token}"),
        }
    }

    /// A call on a connection of its own.
    pub fn call(&self, method: &str, target: &str) -> Request<'static> {
        Request::to(self.addr, method, target).header("Authorization", &self.authorization)
    }

    /// Creates an app, or replaces the app of the same name.
    pub async fn put_app(&self, name: &str, app: &Value) -> Response {
        self.call("PUT", &path_of(name))
            .body(app.to_string())
            .send()
            .await
    }

    /// Removes an app.
    pub async fn delete_app(&self, name: &str) -> Response {
        self.call("DELETE", &path_of(name)).send().await
    }

    /// Gets an app.
    pub async fn get_app(&self, name: &str) -> Response {
        self.call("GET", &path_of(name)).send().await
    }

    /// The JSON that a GET answers with.
    ///
    /// # Panics
    /// When it does not answer 200.
    pub async fn json(&self, target: &str) -> Value {
        let answer = self.call("GET", target).send().await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    /// A caller that keeps its connection.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            api: self.clone(),
            client: None,
        }
    }
}

/// Calls one after the other, on one connection for as long as the coordinator keeps it.
#[derive(Debug)]
pub struct Caller {
    api: Api,
    client: Option<Client>,
}

impl Caller {
    /// Creates an app, or replaces the app of the same name.
    ///
    /// # Errors
    /// When the connection fails before the answer.
    pub async fn put_app(&mut self, name: &str, app: &Value) -> io::Result<Response> {
        self.call("PUT", &path_of(name), Some(app)).await
    }

    /// Removes an app.
    ///
    /// # Errors
    /// When the connection fails before the answer.
    pub async fn delete_app(&mut self, name: &str) -> io::Result<Response> {
        self.call("DELETE", &path_of(name), None).await
    }

    async fn call(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> io::Result<Response> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::try_connect(self.api.addr).await?,
        };
        let request = client
            .request(method, target)
            .header("Authorization", &self.api.authorization);
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        let answer = request.try_send().await?;
        if !answer.headers.lists("Connection", "close") {
            self.client = Some(client);
        }
        Ok(answer)
    }
}

/// An app with these endpoints, no sessions, and defaults otherwise.
#[must_use]
pub fn stateless(endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|address| json!({"address": address.to_string()}))
        .collect();
    json!({"affinity": "none", "endpoints": endpoints})
}

/// An app with these endpoints and defaults otherwise.
#[must_use]
pub fn with_sessions(endpoints: &[SocketAddr]) -> Value {
    let mut app = stateless(endpoints);
    app["affinity"] = json!("session");
    app
}

/// The path of an app in the API.
#[must_use]
pub fn path_of(name: &str) -> String {
    format!("/api/v1/apps/{name}")
}
