//! HTML pages: the index, the login with its cookie and redirect, the greeting.
//!
//! Links in the pages are relative, as is good practice; redirects and the cookie's path are
//! absolute, as they are in most applications. Under `upstream_path: strip` the proxy rewrites
//! those two on the way back.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use html_escape::encode_safe;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use crate::arrival::{self, Arrival};

const INDEX: &str = include_str!("pages/index.html");
const HELLO: &str = include_str!("pages/hello.html");
const STYLE: &str = include_str!("pages/style.css");

/// The cookie that `/login` sets and `/hello` reads.
const COOKIE: &str = "sample_user";

/// The headers from the proxy that the index page shows, in addition to the request ID.
const SHOWN: [&str; 6] = [
    "host",
    "x-backend-session-id",
    "x-forwarded-prefix",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Returns the index page: headers of this request, and links to everything.
pub async fn index(arrival: Arrival, headers: HeaderMap) -> Html<String> {
    let rows: String = SHOWN
        .iter()
        .map(|name| {
            let value = arrival::header(&headers, name);
            let value = value.as_deref().map_or("none".into(), encode_safe);
            format!("<tr><th>{name}</th><td><code>{value}</code></td></tr>\n")
        })
        .collect();
    page(INDEX, &arrival, &[("{{headers}}", &rows)])
}

/// The form of `/login`.
#[derive(Debug, Deserialize)]
pub struct Login {
    #[serde(default)]
    user: String,
}

/// Stores the name in a cookie for the whole application, and redirects to `/hello`.
pub async fn login(request: Request) -> Response {
    // `Form` reads the query of a GET and the body of a POST. A POST without a form has no name.
    let user = match Form::<Login>::from_request(request, &()).await {
        Ok(Form(login)) if !login.user.is_empty() => login.user,
        Ok(_) | Err(FormRejection::InvalidFormContentType(_)) => "guest".to_owned(),
        Err(rejection) => return rejection.into_response(),
    };
    let user = utf8_percent_encode(&user, NON_ALPHANUMERIC);
    redirect("/hello", format!("{COOKIE}={user}; Path=/; HttpOnly"))
}

/// Deletes the cookie, and redirects to the index page.
pub async fn logout() -> Response {
    redirect("/", format!("{COOKIE}=; Path=/; Max-Age=0"))
}

fn redirect(to: &'static str, cookie: String) -> Response {
    (
        StatusCode::SEE_OTHER,
        [
            (header::LOCATION, to.to_owned()),
            (header::SET_COOKIE, cookie),
        ],
    )
        .into_response()
}

/// Returns a greeting with the name in the cookie.
pub async fn hello(arrival: Arrival, headers: HeaderMap) -> Html<String> {
    let greeting = user(&headers).map_or_else(
        || "Hello, stranger".to_owned(),
        |user| format!("Hello, {}", encode_safe(&user)),
    );
    page(HELLO, &arrival, &[("{{greeting}}", &greeting)])
}

/// Returns the name in the cookie.
fn user(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty())
        .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Fills a template. The values of `more` must be HTML.
fn page(template: &str, arrival: &Arrival, more: &[(&str, &str)]) -> Html<String> {
    let mut html = template
        .replace("{{style}}", STYLE)
        .replace("{{request_id}}", &encode_safe(&arrival.to_string()));
    for (mark, value) in more {
        html = html.replace(mark, value);
    }
    Html(html)
}
