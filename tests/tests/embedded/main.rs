//! Whole tiers in the process of a test, started and stopped by their builders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod policies;

use std::net::SocketAddr;
use std::path::Path;

use app_proxy_coordinator::Coordinator;
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{free_address, own_address};
use app_proxy_tests::http1::{Request, Response};
use app_proxy_tests::wait::eventually_async;
use app_proxy_worker::Worker;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn coordinator_config(
    folder: &Path,
    at: [&str; 2],
    app: SocketAddr,
) -> app_proxy_coordinator::Config {
    let [public, admin] = at;
    let text = format!(
        "version: 1\n\
         threads: 1\n\
         coordinator:\n\
         \x20 listeners: [{{address: \"{public}\"}}]\n\
         \x20 admin: {{address: \"{admin}\"}}\n\
         \x20 access_log: {{path: coordinator.log}}\n\
         \x20 apps:\n\
         \x20   - name: notes\n\
         \x20     endpoints: [{{address: \"{app}\"}}]\n"
    );
    app_proxy_coordinator::Config::parse(&text, folder).expect("a configuration")
}

fn start_coordinator(
    folder: &Path,
    at: [&str; 2],
    app: SocketAddr,
) -> app_proxy_coordinator::Running {
    let config = coordinator_config(folder, at, app);
    let built = Coordinator::builder(config).build().expect("a coordinator");
    built.start().expect("a coordinator that serves")
}

fn start_worker(folder: &Path, at: [&str; 2], coordinator: &str) -> app_proxy_worker::Running {
    let [proxy, admin] = at;
    let text = format!(
        "version: 1\n\
         threads: 1\n\
         worker:\n\
         \x20 id: w1\n\
         \x20 listener: {{address: \"{proxy}\"}}\n\
         \x20 admin: {{address: \"{admin}\"}}\n\
         \x20 coordinators: [\"http://{coordinator}\"]\n\
         \x20 access_log: {{path: worker.log}}\n"
    );
    let config = app_proxy_worker::Config::parse(&text, folder).expect("a configuration");
    let built = Worker::builder(config).build().expect("a worker");
    built.start().expect("a worker that serves")
}

fn public_of(coordinator: &app_proxy_coordinator::Running) -> SocketAddr {
    let public = coordinator.addresses.public.first().expect("a listener");
    public.to_string().parse().expect("an address")
}

async fn ask(public: SocketAddr, id: &str) -> Option<Response> {
    let request = Request::to(public, "GET", "/apps/notes/echo").id(id);
    let answer = request.try_send().await.ok()?;
    (answer.status == 200).then_some(answer)
}

/// Sends requests until the worker has registered.
async fn assert_serves(public: SocketAddr, id: &str) {
    let answer = eventually_async("an answer through both tiers", || ask(public, id)).await;
    assert_eq!(answer.request_id(), id);
}

async fn stop(stop: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(stop).await.expect("the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_tiers_serve_in_one_process_and_start_again_on_their_ports() {
    let app = RecordingApp::start().await;
    let folder = folder();
    // An address that no other test uses: a port that is free again stays free.
    let free = format!("{}:0", own_address());
    let coordinator = start_coordinator(folder.path(), [&free; 2], app.addr());
    let admin = coordinator.addresses.admin.to_string();
    let worker = start_worker(folder.path(), [&free; 2], &admin);
    let public = public_of(&coordinator);
    assert_serves(public, "first").await;
    assert!(
        app.requests()
            .iter()
            .any(|seen| seen.request_id() == "first")
    );

    let ports = worker.addresses.clone();
    stop(move || worker.stop()).await;
    stop(move || coordinator.stop()).await;
    for address in [public.to_string(), admin.clone(), ports.proxy.to_string()] {
        assert!(std::net::TcpStream::connect(&address).is_err(), "{address}");
    }

    let coordinator = start_coordinator(folder.path(), [&public.to_string(), &admin], app.addr());
    let at = [ports.proxy.to_string(), ports.admin.to_string()];
    let worker = start_worker(folder.path(), [&at[0], &at[1]], &admin);
    assert_serves(public, "second").await;
    drop(worker);
    drop(coordinator);
    assert!(std::net::TcpStream::connect(public).is_err());
    assert!(!folder.path().join("run/coordinator.pid").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_coordinators_serve_in_one_process() {
    let app = RecordingApp::start().await;
    let folders = [folder(), folder()];
    let running: Vec<_> = folders
        .iter()
        .map(|folder| start_coordinator(folder.path(), ["127.0.0.1:0"; 2], app.addr()))
        .collect();
    let workers: Vec<_> = folders
        .iter()
        .zip(&running)
        .map(|(folder, coordinator)| {
            let admin = coordinator.addresses.admin.to_string();
            start_worker(folder.path(), ["127.0.0.1:0"; 2], &admin)
        })
        .collect();
    for (number, coordinator) in running.iter().enumerate() {
        assert_serves(public_of(coordinator), &format!("from-{number}")).await;
    }
    let [first, second]: [_; 2] = running.try_into().unwrap_or_else(|_| panic!("two"));
    let left = public_of(&second);
    stop(move || first.stop()).await;
    assert_serves(left, "still-there").await;
    stop(move || workers.into_iter().for_each(|worker| worker.stop())).await;
    stop(move || second.stop()).await;
}

#[test]
fn an_address_in_use_is_an_error_and_not_the_end_of_the_process() {
    let taken = std::net::TcpListener::bind((own_address(), 0)).unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    let folder = folder();
    let app = free_address(own_address());
    let config = coordinator_config(folder.path(), [&busy, "127.0.0.1:0"], app);
    let error = Coordinator::builder(config)
        .build()
        .err()
        .expect("an error");
    assert!(error.to_string().contains(&busy), "{error}");
}

#[test]
fn a_coordinator_that_is_dropped_unstarted_leaves_its_ports_free() {
    let folder = folder();
    let public = free_address(own_address());
    let config = coordinator_config(folder.path(), [&public.to_string(), "127.0.0.1:0"], public);
    drop(Coordinator::builder(config).build().expect("a coordinator"));
    std::net::TcpListener::bind(public).unwrap();
}
