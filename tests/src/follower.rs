//! A worker as far as a coordinator sees one: it registers and follows the app table. It serves
//! nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http1::{Client, Response};

/// A follower of a cluster's coordinator.
#[derive(Debug)]
pub struct Follower {
    /// The apps by name, as the coordinator sends them.
    pub apps: BTreeMap<String, Value>,
    /// The number of complete tables received.
    pub whole: usize,
    admin: SocketAddr,
    token: String,
    client: Client,
    /// The epoch and the revision of the table that the follower holds.
    held: Option<(String, u64)>,
}

impl Follower {
    /// A follower that holds no table yet.
    pub async fn of(cluster: &Cluster) -> Self {
        let (admin, token) = (cluster.admin(), cluster.worker_token());
        Self {
            apps: BTreeMap::new(),
            whole: 0,
            admin,
            token,
            client: Client::connect(admin).await,
            held: None,
        }
    }

    /// Registers as the worker `id` at an address.
    ///
    /// # Panics
    /// If the coordinator rejects the registration.
    pub async fn register(&mut self, id: &str, address: SocketAddr) {
        let body = json!({"address": address.to_string(), "lease": "1m"}).to_string();
        let answer = self
            .call("PUT", &format!("/api/v1/workers/{id}"), &body)
            .await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{id}: {}",
            answer.text()
        );
    }

    /// Applies the changes since the last call; waits up to `wait`, which is less than
    /// [`crate::wait::DEADLINE`], for a change.
    ///
    /// # Panics
    /// If the changes do not match the table.
    pub async fn follow(&mut self, wait: &str) {
        let query = self
            .held
            .as_ref()
            .map(|(epoch, revision)| format!("?since={revision}&epoch={epoch}&wait={wait}"));
        let answer = self
            .call(
                "GET",
                &format!("/api/v1/apps{}", query.unwrap_or_default()),
                "",
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.take_over(&answer.json());
    }

    /// Continues over a new connection, with the table that the follower holds.
    pub async fn reconnect(&mut self) {
        self.client = Client::connect(self.admin).await;
    }

    /// The revision of the table that the follower holds; 0 when it holds none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.held.as_ref().map_or(0, |(_, revision)| *revision)
    }

    fn take_over(&mut self, list: &Value) {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (epoch, revision) = (
            text(&list["epoch"]),
            list["revision"].as_u64().expect("a revision"),
        );
        if list["complete"] == true {
            self.apps.clear();
            self.whole += 1;
        } else {
            let (held_epoch, held) = self
                .held
                .as_ref()
                .expect("a follower without a table gets the whole table");
            assert!(
                *held_epoch == epoch && *held <= revision,
                "{held} of {held_epoch}, then {revision} of {epoch}"
            );
        }
        for name in list["deleted"].as_array().expect("names") {
            let name = text(name);
            // An app that was created and deleted in between was never in this table.
            self.apps.remove(&name);
        }
        for app in list["items"].as_array().expect("apps") {
            self.apps.insert(text(&app["name"]), app.clone());
        }
        self.held = Some((epoch, revision));
    }

    async fn call(&mut self, method: &str, target: &str, body: &str) -> Response {
        let request = self.client.request(method, target);
        request
            .header("Authorization", &format!("Bearer {}", self.token))
            .body(body)
            .send()
            .await
    }
}
