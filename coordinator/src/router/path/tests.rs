//! Tests of path normalisation: examples, and properties over hostile paths.

use proptest::prelude::*;

use super::*;

fn normalised(raw: &str) -> String {
    let path = NormalisedPath::parse(raw).unwrap();
    String::from_utf8(path.as_bytes().to_vec()).unwrap()
}

fn remainder<'a>(raw: &'a str, prefix: &str) -> Result<&'a str, PathError> {
    NormalisedPath::parse(raw)?.remainder(prefix)
}

#[test]
fn dot_segments_are_resolved_as_in_rfc_3986() {
    for (raw, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/../../../g", "/g"),
        ("/..", "/"),
        ("/../a", "/a"),
        ("/.hidden/..a/a..", "/.hidden/..a/a.."),
        ("/a//../b", "/a/b"),
        ("/a//b/", "/a//b/"),
        ("//", "//"),
    ] {
        assert_eq!(normalised(raw), expected, "{raw}");
    }
}

#[test]
fn escapes_are_decoded_once_and_before_dot_segments() {
    for (raw, expected) in [
        ("/a%2Fb", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a%2f..%2fb", "/b"),
        ("/%252e%252e/b", "/%2e%2e/b"),
        ("/a%5c..%5Cb", "/a\\..\\b"),
        ("/caf%C3%A9", "/café"),
        ("/a;x=1/..;y", "/a;x=1/..;y"),
    ] {
        assert_eq!(normalised(raw), expected, "{raw}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_kept() {
    let path = NormalisedPath::parse("/a/%FF%fe/../%80").unwrap();
    assert_eq!(path.as_bytes(), b"/a/\x80");
}

#[test]
fn invalid_paths_are_rejected() {
    for (raw, error) in [
        ("", PathError::NoLeadingSlash),
        ("*", PathError::NoLeadingSlash),
        ("a/b", PathError::NoLeadingSlash),
        ("%2Fa", PathError::NoLeadingSlash),
        ("/a%", PathError::BadEscape),
        ("/a%2", PathError::BadEscape),
        ("/a%zz", PathError::BadEscape),
        ("/a%+1", PathError::BadEscape),
        ("/a%2%66", PathError::BadEscape),
        ("/a%é", PathError::BadEscape),
        ("/a%00", PathError::Nul),
        ("/a\0", PathError::Nul),
    ] {
        assert_eq!(NormalisedPath::parse(raw).unwrap_err(), error, "{raw:?}");
    }
}

#[test]
fn an_ordinary_path_is_not_copied() {
    for raw in [
        "/apps/jupyter/api/contents",
        "/.well-known/a..b/...",
        "/a\\b",
    ] {
        let path = NormalisedPath::parse(raw).unwrap();
        assert!(matches!(path.normalised, Cow::Borrowed(_)), "{raw}");
    }
}

#[test]
fn the_remainder_is_the_bytes_of_the_client() {
    for (raw, rest) in [
        ("/apps/jupyter", ""),
        ("/apps/jupyter/", "/"),
        ("/apps/jupyter//a%20b/%C3%a9", "//a%20b/%C3%a9"),
        ("/apps/jupyter/a/../b/./c%2Fd", "/a/../b/./c%2Fd"),
        ("/apps/jupyter/a/..", "/a/.."),
        ("/apps/jupyter/...", "/..."),
        ("/apps/jupyter/..a/%2e%2e", "/..a/%2e%2e"),
    ] {
        assert_eq!(remainder(raw, "/apps/jupyter"), Ok(rest), "{raw}");
        assert_eq!(remainder(raw, ""), Ok(raw), "{raw}");
    }
}

#[test]
fn letters_of_a_prefix_may_be_escaped() {
    for raw in [
        "/apps/%6aupyter/x%20y",
        "/%61pps/jupyter/x%20y",
        "/%61%70%70%73/%6A%75pyter/x%20y",
    ] {
        assert_eq!(remainder(raw, "/apps/jupyter"), Ok("/x%20y"), "{raw}");
    }
    assert_eq!(
        remainder("/apps/%6aupyter%2e/x", "/apps/jupyter"),
        Err(PathError::NotLiteral)
    );
    assert_eq!(
        remainder("/apps/%6aupyter/../x", "/apps/jupyter"),
        Err(PathError::Escapes)
    );
}

#[test]
fn prefixes_with_escaped_slashes_are_rejected() {
    for raw in [
        "/apps%2Fjupyter/x",
        "/apps/jupyter%2Fx",
        "/apps/./jupyter/x",
        "/x/../apps/jupyter/x",
        "/apps/jupyterlab",
        "/app",
    ] {
        let refused = Err(PathError::NotLiteral);
        assert_eq!(remainder(raw, "/apps/jupyter"), refused, "{raw}");
    }
}

#[test]
fn remainders_that_climb_out_of_the_prefix_are_rejected() {
    for rest in [
        "/..",
        "/../other",
        "/../jupyter/x",
        "/a/../../jupyter/x",
        "/..%2f..%2fother",
        "/%2e%2e/x",
        "/.%2E/x",
        "/..\\..\\other",
        "/a\\..\\..",
        "/a%5C..%5c..%5cother",
        "/\\..",
        "/..;x/other",
        "/..%3Bx/other",
        "/..;",
        "//../x",
        "/a//../../x",
        "/a/.;x/../../x",
        "/./..",
        "/a/%2F../..",
        "/a%2Fb/../..",
        "/a\\b/../..",
        "/a/..;\\b/..",
        "/;x/..",
        "/.;x/..",
    ] {
        let raw = format!("/apps/jupyter{rest}");
        let refused = Err(PathError::Escapes);
        assert_eq!(remainder(&raw, "/apps/jupyter"), refused, "{raw}");
    }
}

/// Paths composed of the fragments that attacks use.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", "a", "b", ".", "..", "%2e", "%2E", "%2f", "%5C", "\\", ";", "%3b", "%",
        "%25", "%00", "%ff", "é", "..;", "/a/", "/../",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// Returns whether `path` is `prefix` or below it.
fn is_below(path: &[u8], prefix: &str) -> bool {
    path.strip_prefix(prefix.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// One server's interpretation of ambiguous paths.
#[derive(Debug, Clone, Copy)]
struct Interpretation {
    backslash_separates: bool,
    escaped_slash_separates: bool,
    escaped_dot_is_a_dot: bool,
    parameters_are_cut: bool,
    slashes_are_merged: bool,
}

impl Interpretation {
    fn all() -> impl Iterator<Item = Self> {
        (0_u8..32).map(|bits| Self {
            backslash_separates: bits & 1 != 0,
            escaped_slash_separates: bits & 2 != 0,
            escaped_dot_is_a_dot: bits & 4 != 0,
            parameters_are_cut: bits & 8 != 0,
            slashes_are_merged: bits & 16 != 0,
        })
    }

    fn climbs(self, rest: &str) -> bool {
        let or = |is: bool, byte: &'static str| if is { byte } else { "x" };
        let read = rest
            .to_ascii_lowercase()
            .replace("%3b", ";")
            .replace("%2e", or(self.escaped_dot_is_a_dot, "."))
            .replace("%2f", or(self.escaped_slash_separates, "/"))
            .replace("%5c", "\\")
            .replace('\\', or(self.backslash_separates, "/"));
        let mut depth = 0;
        read.split('/').skip(1).any(|segment| {
            let cut = segment.split(';').next().unwrap();
            let segment = if self.parameters_are_cut {
                cut
            } else {
                segment
            };
            depth += match segment {
                "." => 0,
                ".." => -1,
                "" if self.slashes_are_merged => 0,
                _ => 1,
            };
            depth < 0
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_string_is_accepted_or_rejected(raw in "\\PC*", prefix in "(/[a-c]{1,2}){0,3}") {
        if let Ok(path) = NormalisedPath::parse(&raw) {
            let _ = path.remainder(&prefix);
        }
    }

    #[test]
    fn a_normalised_path_begins_with_a_slash_and_has_no_dot_segment(raw in hostile()) {
        if let Ok(path) = NormalisedPath::parse(&raw) {
            let mut segments = path.as_bytes().split(|&byte| byte == b'/');
            prop_assert_eq!(segments.next(), Some(&b""[..]));
            prop_assert!(!segments.any(|segment| segment == b"." || segment == b".."));
        }
    }

    #[test]
    fn an_accepted_path_stays_below_its_prefix_in_every_interpretation(
        prefix in "(/[ab]){0,3}",
        rest in hostile(),
    ) {
        let raw = format!("{prefix}{rest}");
        if let Ok(path) = NormalisedPath::parse(&raw)
            && let Ok(remainder) = path.remainder(&prefix)
        {
            prop_assert_eq!(remainder, &rest);
            prop_assert!(is_below(path.as_bytes(), &prefix));
            for interpretation in Interpretation::all() {
                prop_assert!(!interpretation.climbs(&rest), "{:?}", interpretation);
            }
        }
    }

    #[test]
    fn plain_paths_are_rejected_only_if_they_climb(
        rest in "(/(a|b|\\.|\\.\\.|%2e%2E)){0,12}",
    ) {
        let plain = rest.replace("%2e%2E", "..");
        let climbs = Interpretation::all().next().unwrap().climbs(&plain);
        let raw = format!("/p{rest}");
        let remainder = NormalisedPath::parse(&raw).unwrap().remainder("/p");
        let expected = if climbs { Err(PathError::Escapes) } else { Ok(rest.as_str()) };
        prop_assert_eq!(remainder, expected);
    }

    #[test]
    fn a_remainder_is_a_suffix_of_the_path(raw in hostile(), prefix in "(/[ab]){0,2}") {
        if let Ok(path) = NormalisedPath::parse(&raw)
            && let Ok(remainder) = path.remainder(&prefix)
        {
            prop_assert!(raw.ends_with(remainder));
            prop_assert!(remainder.is_empty() || remainder.starts_with('/'));
        }
    }
}
