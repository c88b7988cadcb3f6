//! Addresses of the web, in one spelling, with one reading.
//!
//! What programs read differently is refused and not repaired: credentials, backslashes, spaces and control characters, other
//! scripts, escapes in a host, an empty port. What was read is what is connected to and what is sent; nobody reads the text again.

use std::fmt;
use std::sync::Arc;

use crate::access::net;
use crate::access::{Host, HostError, Port};

use super::End;

/// Longest address in bytes.
const URL_BYTES_MAX: usize = 8192;
/// The port of HTTP without encryption, and of HTTP with it.
const PORTS: (Port, Port) = (Port::new(80).expect("80 is not 0"), Port::new(443).expect("443 is not 0"));

/// An `http` or `https` address, read once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    scheme: Scheme,
    host: Host,
    port: Port,
    /// The path and what follows it, from the first slash on.
    target: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// Why a text is no address of the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It is too long.
    #[error("an address has at most {URL_BYTES_MAX} bytes")]
    TooLong,
    /// It has a character that is not for addresses, or that programs read differently.
    #[error("an address has no {found:?}; write it as `%` and two digits")]
    Character {
        /// The first such character.
        found: char,
    },
    /// A `%` that does not begin an escape, or the escape of NUL.
    #[error("`%` is followed by two hexadecimal digits, which are not 00")]
    Escape,
    /// It does not begin with `http://` or `https://`.
    #[error("an address begins with `http://` or `https://`")]
    Scheme,
    /// It has a name or a password before the host.
    #[error("an address has no name or password; they go into a header")]
    Credentials,
    /// The port is none.
    #[error("a port is 1 to 65535, or left out with its colon")]
    Port,
    /// The port of `https` without encryption.
    #[error("port 443 is for `https`")]
    NotEncrypted,
    /// It names a place within the document, which is nobody's business but the reader's.
    #[error("an address has no `#`")]
    Fragment,
    /// The host is none.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl HttpUrl {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        check(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let after = if authority.starts_with('[') { authority.find(']').map_or(0, |at| at + 1) } else { 0 };
        let (host, port) = match authority[after..].find(':').map(|at| at + after) {
            Some(at) => (&authority[..at], net::port(&authority[at + 1..]).ok_or(UrlError::Port)?),
            None => (authority, scheme.port()),
        };
        // IPv6 stands in brackets, which the first colon would have split otherwise.
        let host = Host::parse(host)?;
        if scheme == Scheme::Http && port == PORTS.1 {
            return Err(UrlError::NotEncrypted);
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { scheme, host, port, target: format!("{slash}{target}").into() })
    }

    /// Where a reference in a document from this address leads. A place within that document is left out.
    pub(super) fn join(&self, reference: &str) -> Result<Self, UrlError> {
        if reference.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        let reference = reference.split('#').next().unwrap_or(reference);
        check(reference)?;
        let (path, query) = self.target.split_at(self.target.find('?').unwrap_or(self.target.len()));
        let target = match reference {
            "" => format!("{path}{query}"),
            _ if reference.starts_with("//") => {
                return Self::parse(&format!("{}:{reference}", self.scheme.word()));
            }
            _ if reference.starts_with('/') => without_dots(reference),
            _ if reference.starts_with('?') => format!("{path}{reference}"),
            // A colon before the first slash ends a scheme.
            _ if reference.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => {
                return Self::parse(reference);
            }
            _ => without_dots(&format!("{}{reference}", &path[..=path.rfind('/').unwrap_or(0)])),
        };
        if target.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        Ok(Self { target: target.into(), ..self.clone() })
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn end(&self) -> End {
        End { host: self.host.clone(), port: self.port }
    }

    /// The path and what follows it, as it is sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The host and the port, if it is not the usual one: what the `host` header says.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn is_of_same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

impl Scheme {
    fn port(self) -> Port {
        match self {
            Scheme::Http => PORTS.0,
            Scheme::Https => PORTS.1,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.word(), self.authority(), self.target)
    }
}

impl fmt::Debug for HttpUrl {
    /// Without the path and what follows it, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({}://{}/..)", self.scheme.word(), self.authority())
    }
}

/// Every character is one that addresses have, and escapes are whole.
fn check(text: &str) -> Result<(), UrlError> {
    let is_for_urls = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    if let Some(found) = text.chars().find(|c| !is_for_urls(*c)) {
        return Err(UrlError::Character { found });
    }
    for escape in text.split('%').skip(1) {
        let digits = escape.as_bytes().get(..2).ok_or(UrlError::Escape)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) || digits == b"00" {
            return Err(UrlError::Escape);
        }
    }
    Ok(())
}

/// A path, and maybe a query, with `.` and `..` parts of the path carried out. Nothing goes above the first slash.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let is_folder = matches!(path.rsplit('/').next(), Some("." | ".."));
    format!("/{}{}{query}", parts.join("/"), if is_folder && !parts.is_empty() { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_where_the_standard_says() {
        let base = HttpUrl::parse("http://a/b/c/d?q").unwrap();
        // The examples of RFC 3986, those without a scheme or a part of their own.
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("https://g/x", "https://g/x"),
        ] {
            assert_eq!(
                base.join(reference).map(|url| url.to_string()),
                Ok(expected.to_owned()),
                "{reference}"
            );
        }
        for reference in ["g:h", "http:g", "mailto:x", "//", "//a@b/", "a b"] {
            assert!(base.join(reference).is_err(), "{reference}");
        }
    }

    #[test]
    fn a_reference_makes_no_address_longer_than_may_be() {
        let base = HttpUrl::parse(&format!("http://a/{}/", "b".repeat(8000))).unwrap();
        assert!(base.join(&"c".repeat(100)).is_ok());
        assert_eq!(base.join(&"c".repeat(1000)), Err(UrlError::TooLong));
        assert_eq!(base.join(&"/".repeat(8193)), Err(UrlError::TooLong));
    }

    #[test]
    fn m7_what_follows_the_host_is_not_in_what_programs_log() {
        let url = HttpUrl::parse("https://a.test/path?token=secret").unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }
}
