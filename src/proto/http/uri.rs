//! Parts of URIs in heads: the path and query of a target, and the URI in a Location.

use crate::proto::authority::has_whole_escapes;

/// Returns whether this is a path, with or without a query, in which no character must be escaped.
///
/// Allowed are the characters of RFC 3986 and those that browsers send unescaped. RFC 6455, section
/// 3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used
/// on these URIs."
pub(crate) fn is_resource_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>".contains(&byte);
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    path.starts_with('/')
        && text.bytes().all(is_plain)
        && !path.contains('\\')
        && has_whole_escapes(path)
}

/// A URI, or a reference relative to another URI (RFC 3986, section 4.1), without its fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) scheme: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

impl Reference {
    /// Splits a reference as in RFC 3986, appendix B. Does not check its parts.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let (text, query) = match text.split_once('?') {
            Some((text, query)) => (text, Some(query.to_owned())),
            None => (text, None),
        };
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme.to_owned()), rest),
            Some(_) | None => (None, text),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority.to_owned()), path)
            }
            None => (None, rest),
        };
        Self {
            scheme,
            authority,
            path: path.to_owned(),
            query,
        }
    }

    /// Resolves the reference relative to a complete URI (RFC 3986, section 5.2.2).
    pub(crate) fn resolve(self, base: &Self) -> Self {
        if self.scheme.is_some() {
            let path = remove_dots(&self.path);
            return Self { path, ..self };
        }
        let scheme = base.scheme.clone();
        if self.authority.is_some() {
            let path = remove_dots(&self.path);
            return Self {
                scheme,
                path,
                ..self
            };
        }
        let authority = base.authority.clone();
        let (path, query) = if self.path.is_empty() {
            (base.path.clone(), self.query.or_else(|| base.query.clone()))
        } else if self.path.starts_with('/') {
            (remove_dots(&self.path), self.query)
        } else {
            // 5.2.3: all of the base's path up to its last slash.
            let folder = base.path.rfind('/').map_or("/", |at| &base.path[..=at]);
            (remove_dots(&format!("{folder}{}", self.path)), self.query)
        };
        Self {
            scheme,
            authority,
            path,
            query,
        }
    }
}

/// Returns whether this is a scheme (RFC 3986, section 3.1).
pub(super) fn is_scheme(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_plain)
}

/// Removes the segments `.` and `..` from a path (RFC 3986, section 5.2.4).
fn remove_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let (root, rest) = match path.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None => ("", path),
    };
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                // The result is a folder.
                if is_last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("{root}{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_name_is_a_path_without_fragment() {
        for text in [
            "/",
            "/a/../b//c",
            "/%00%fF",
            "/a?b=c?d",
            "/?",
            "/a?100%",
            "/|^`{}[]?\\|^`{}[]'",
            "/:@!$&;=~",
        ] {
            assert!(is_resource_name(text), "{text}");
        }
        for text in [
            "", "a", "*", "?a", "/#", "/a?b#c", "/a b", "/\"", "/<", "/>", "/\\a", "/%", "/%4",
            "/%gg", "/é", "/\x7f", "/\r\n", "/?\t",
        ] {
            assert!(!is_resource_name(text), "{text}");
        }
    }

    #[test]
    fn a_reference_is_resolved_as_rfc_3986_section_5_4_shows() {
        let base = Reference::parse("http://a/b/c/d;p?q");
        for (reference, target) in [
            // 5.4.1
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            // 5.4.2
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g#s/../x", "http://a/b/c/g"),
            ("http:g", "http:g"),
        ] {
            let found = Reference::parse(reference).resolve(&base);
            assert_eq!(found, Reference::parse(target), "{reference}");
        }
    }
}
