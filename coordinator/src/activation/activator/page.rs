//! The page that browsers show while an app starts. It reloads itself, with and without JavaScript.

use app_proxy_hop::error::escape;
use app_proxy_hop::identity::RequestId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The page, with the placeholders `{{app}}`, `{{id}}` and `{{nonce}}`.
const TEMPLATE: &str = include_str!("page.html");

/// A rendered page.
pub(super) struct Page {
    pub(super) body: String,
    /// The value of `Content-Security-Policy`. It has no `frame-ancestors`: consoles frame apps,
    /// and the page has nothing to click.
    pub(super) policy: String,
}

/// Renders the page of an app for the request `id`.
pub(super) fn render(app: &str, id: &RequestId) -> Page {
    let nonce = STANDARD.encode(rand::random::<[u8; 16]>());
    let mut body = String::with_capacity(TEMPLATE.len() + 256);
    let mut pieces = TEMPLATE.split("{{");
    body.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        let value = match name {
            "app" => app,
            "id" => id.as_str(),
            "nonce" => &nonce,
            _ => "",
        };
        escape(value, &mut body);
        body.push_str(rest);
    }
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'"
    );
    Page { body, policy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_page_names_the_app_and_the_request_and_escapes_both() {
        let id = RequestId::accept(&HeaderValue::from_static("a'b"))
            .unwrap_or_else(|_| RequestId::generate());
        let page = render("<notes>", &id);
        assert!(
            page.body.contains("&lt;notes&gt; is starting"),
            "{}",
            page.body
        );
        assert!(
            !page.body.contains("<notes>")
                && !page.body.contains("{{")
                && !page.body.contains("a'b")
        );
    }

    #[test]
    fn scripts_and_styles_have_a_nonce_that_is_new_for_each_page() {
        let page = render("notes", &RequestId::generate());
        let nonce = page
            .policy
            .split("'nonce-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap();
        assert_eq!(page.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert_eq!(
            page.body.matches("<script").count() + page.body.matches("<style").count(),
            2
        );
        assert!(
            !page.body.contains(" style=") && !page.body.contains(" onload="),
            "nothing inline without it"
        );
        assert_ne!(page.policy, render("notes", &RequestId::generate()).policy);
    }
}
