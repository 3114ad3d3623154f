//! Visitors: apps and session cookies, obtained before the measurement.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::client::{Connection, Expected, Failure, Request, Visitor};

/// The numbers of apps and of sessions of each app.
#[derive(Clone, Copy, Debug)]
pub struct Visits {
    /// Apps.
    pub apps: usize,
    /// Sessions of each app.
    pub each: usize,
}

/// Connections that the cookies are got over.
const CONNECTIONS: usize = 64;

/// A cookie as long as App-Proxy's, for chains that have no sessions: every chain gets the same
/// bytes.
const COOKIE: &str = "app_proxy_session=AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";

const EXPECTED: Expected = Expected {
    length: 1 << 10,
    request_id: false,
};

/// The name of an app.
pub(crate) fn app_name(index: usize) -> String {
    if index == 0 {
        "bench".to_owned()
    } else {
        format!("bench-{index}")
    }
}

/// Returns the visitors, each with a cookie. A chain with sessions has issued the cookie and has
/// received it once.
pub(crate) async fn collect(
    entry: SocketAddr,
    visits: Visits,
    sessions: bool,
) -> Result<Vec<Visitor>> {
    let visitors: Vec<Visitor> = (0..visits.apps)
        .flat_map(|app| std::iter::repeat_n(format!("/apps/{}", app_name(app)), visits.each))
        .map(|base| Visitor {
            base,
            cookie: if sessions {
                String::new()
            } else {
                COOKIE.to_owned()
            },
        })
        .collect();
    if !sessions {
        return Ok(visitors);
    }
    let with_cookies = visit(entry, visitors)
        .await
        .context("the cookies cannot be got")?;
    visit(entry, with_cookies)
        .await
        .context("the cookies do not work")
}

/// Sends one request of each visitor, and stores the cookie that the response sets.
async fn visit(entry: SocketAddr, visitors: Vec<Visitor>) -> Result<Vec<Visitor>, Failure> {
    let waiting = Rc::new(RefCell::new(visitors));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let waiting = Rc::clone(&waiting);
        clients.spawn_local(async move {
            let mut connection = Connection::open(entry).await?;
            let mut visited = Vec::new();
            loop {
                let next = waiting.borrow_mut().pop();
                let Some(mut visitor) = next else {
                    return Ok(visited);
                };
                ask(&mut connection, &mut visitor).await?;
                visited.push(visitor);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(outcome) = clients.join_next().await {
        let visited: Result<Vec<Visitor>, Failure> = outcome.map_err(std::io::Error::from)?;
        all.extend(visited?);
    }
    Ok(all)
}

async fn ask(connection: &mut Connection, visitor: &mut Visitor) -> Result<(), Failure> {
    connection
        .send(&Request::get(visitor, "/1k").into_bytes())
        .await?;
    let mut given = None;
    let header = |name: &str, value: &[u8]| {
        if name.eq_ignore_ascii_case("set-cookie") {
            given = std::str::from_utf8(value)
                .ok()
                .and_then(|v| v.split(';').next())
                .map(str::to_owned);
        }
    };
    connection.answer(EXPECTED, header).await?;
    match given {
        Some(_) if !visitor.cookie.is_empty() => Err(Failure::Malformed(
            "a new cookie for one that was given out",
        )),
        None if visitor.cookie.is_empty() => Err(Failure::Malformed("no session cookie")),
        given => {
            visitor.cookie = given.unwrap_or_else(|| std::mem::take(&mut visitor.cookie));
            Ok(())
        }
    }
}
