//! HTTP requests: one connection each, opened behind the gate, and closed when the answer was read.
//!
//! There is no pool, so nothing outlives the decision it was made for; no proxy, no cookies, no decompression. A redirect is a
//! request of its own, decided and recorded anew; one from `https` to `http` is refused, and what the caller said to one origin
//! is not said to another. The host that was decided about is the one that is connected to, asked for in TLS and named in the
//! request. What the other side sends is bounded in bytes and in time.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use crate::access::{NetVerb, Subject};

use super::tls::Speaks;
use super::url::{HttpUrl, Scheme, UrlError};
use super::{Connection, NetError, Network, after, without_credentials};

/// What a request is called in records.
const OPERATION: &str = "net.http";
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of all headers of one request.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// What the parser needs to work with.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// Headers that may follow a redirect to another origin; all others were said to the first one.
const KEPT: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::USER_AGENT,
];

/// A client for HTTP on a network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    network: Network,
    limits: HttpLimits,
}

/// What may grow, and how long things may take. The limits of the network hold as well.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// What is done with redirects.
    pub redirects: Redirects,
    /// Bytes of a request's body.
    pub request_bytes_max: usize,
    /// Bytes of an answer's status line and headers.
    pub head_bytes_max: usize,
    /// Headers of an answer.
    pub headers_max: usize,
    /// Bytes of an answer's body.
    pub body_bytes_max: u64,
    /// How long it may take from the request being sent to the head of its answer.
    pub head_timeout: Duration,
    /// How long all may take: redirects and reading the body.
    pub whole_timeout: Duration,
}

/// What is done with an answer that leads elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// It is given to the caller.
    Given,
    /// It is followed, so many times for one request.
    Followed {
        /// Hops.
        max: u8,
    },
}

/// What is done with what an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the words of HTTP")]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// A request, checked but not yet allowed.
#[derive(Clone)]
pub struct HttpRequest {
    method: HttpMethod,
    url: HttpUrl,
    headers: HeaderMap,
    header_bytes: usize,
    body: Bytes,
}

/// The head of an answer, and its body as far as it is asked for. Dropping it closes the connection.
pub struct HttpResponse {
    status: u16,
    headers: HeaderMap,
    url: HttpUrl,
    body: Body,
}

struct Body {
    incoming: Incoming,
    connection: Driven,
    read: u64,
    bytes_max: u64,
    deadline: Instant,
    timeout: Duration,
}

/// The far side of a request, driven by whoever waits for the answer.
struct Driven(Option<Pin<Box<Spoken>>>);

type Spoken = http1::Connection<TokioIo<Connection>, Full<Bytes>>;

/// Why a request was not made or its answer not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// It is not allowed, or nobody could be reached.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The text is no address. It is not repeated, as it may have a password in it.
    #[error("use a text as an address of the web")]
    Url(#[source] UrlError),
    /// The client itself says this header, or nobody does.
    #[error("send the header `{name}`: it is not the caller's to say")]
    HeaderNotYours {
        /// Which.
        name: String,
    },
    /// The header's name or value is none.
    #[error("send the header {}: it has characters that are not for headers", crate::document::quoted(.name))]
    Header {
        /// Which.
        name: String,
    },
    /// There are too many headers or bytes of them.
    #[error("send the request: at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes may be")]
    Headers,
    /// The request has too large a body.
    #[error("send a body of {len} bytes: at most {max} may be")]
    RequestTooLarge {
        /// Its bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The answer has too large a head, or too many headers.
    #[error("read the answer of {end}: its head has more than {bytes_max} bytes or {headers_max} headers")]
    HeadTooLarge {
        /// Whose.
        end: String,
        /// The bound of bytes.
        bytes_max: usize,
        /// The bound of headers.
        headers_max: usize,
    },
    /// The answer has too large a body.
    #[error("read the answer of {end}: its body has more than {max} bytes")]
    BodyTooLarge {
        /// Whose.
        end: String,
        /// The bound.
        max: u64,
    },
    /// It took too long.
    #[error("{action} {end}: it took longer than {after:?}")]
    TimedOut {
        /// What was being done.
        action: &'static str,
        /// With whom.
        end: String,
        /// The bound.
        after: Duration,
    },
    /// The answer leads to what is no address.
    #[error("follow the redirect of {end}")]
    Redirect {
        /// Whose.
        end: String,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// The answer leads from an encrypted connection to one that is not.
    #[error("follow the redirect of {end}: it leads from https to http")]
    Downgrade {
        /// Whose.
        end: String,
    },
    /// The answer leads to several places.
    #[error("follow the redirect of {end}: it names no place, or several")]
    RedirectUnclear {
        /// Whose.
        end: String,
    },
    /// One redirect leads to the next.
    #[error("follow the redirect of {end}: {max} were followed already")]
    RedirectsTooMany {
        /// Whose.
        end: String,
        /// The bound.
        max: u8,
    },
    /// What came back is no answer, or the connection broke.
    #[error("talk HTTP with {end}")]
    Talk {
        /// With whom.
        end: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl Default for HttpLimits {
    /// 5 redirects, bodies of 16 MiB there and 64 MiB back, heads of 64 KiB and 100 headers, 30 seconds for the head and 2
    /// minutes for all.
    fn default() -> Self {
        Self {
            redirects: Redirects::Followed { max: 5 },
            request_bytes_max: 16 << 20,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            body_bytes_max: 64 << 20,
            head_timeout: Duration::from_secs(30),
            whole_timeout: Duration::from_secs(120),
        }
    }
}

impl HttpMethod {
    fn word(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
            HttpMethod::Options => "OPTIONS",
        }
    }
}

impl HttpRequest {
    /// A request without headers and body. Nobody is named here, so a text that is no address is on no record; use
    /// [`Http::request`] for texts that somebody gives.
    pub fn new(method: HttpMethod, url: &str) -> Result<Self, HttpError> {
        let url = HttpUrl::parse(url).map_err(HttpError::Url)?;
        Ok(Self { method, url, headers: HeaderMap::new(), header_bytes: 0, body: Bytes::new() })
    }

    /// [`HttpRequest::new`] that gets.
    pub fn get(url: &str) -> Result<Self, HttpError> {
        Self::new(HttpMethod::Get, url)
    }

    /// The same with one header more. The host, the length and what the connection is used for are not the caller's to say.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let fail = || HttpError::Header { name: name.to_owned() };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fail())?;
        let value = HeaderValue::from_str(value).map_err(|_| fail())?;
        let is_ours = matches!(
            key.as_str(),
            "host"
                | "connection"
                | "content-length"
                | "transfer-encoding"
                | "te"
                | "trailer"
                | "upgrade"
                | "expect"
                | "keep-alive"
                | "http2-settings"
                | "alt-used"
        );
        if is_ours || key.as_str().starts_with("proxy-") {
            return Err(HttpError::HeaderNotYours { name: key.to_string() });
        }
        self.header_bytes += name.len() + value.len();
        if self.headers.len() == HEADERS_MAX || self.header_bytes > HEADER_BYTES_MAX {
            return Err(HttpError::Headers);
        }
        self.headers.append(key, value);
        Ok(self)
    }

    /// The same with this body.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Where it goes.
    pub fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// The same to where an answer leads. What may follow depends on whether that is the same origin.
    fn redirected(mut self, status: u16, location: &str) -> Result<Self, HttpError> {
        let end = self.url.end().to_string();
        let url = match self.url.join(location) {
            Ok(url) => url,
            Err(source) => return Err(HttpError::Redirect { end, source }),
        };
        match (self.url.scheme(), url.scheme()) {
            (Scheme::Https, Scheme::Http) => return Err(HttpError::Downgrade { end }),
            (Scheme::Https | Scheme::Http, Scheme::Https) | (Scheme::Http, Scheme::Http) => {}
        }
        let becomes_get = match status {
            303 => self.method != HttpMethod::Head,
            301 | 302 => self.method == HttpMethod::Post,
            _ => false,
        };
        if becomes_get {
            self.method = HttpMethod::Get;
            self.body = Bytes::new();
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                self.headers.remove(name);
            }
        }
        if !url.is_of_same_origin(&self.url) {
            let told = std::mem::take(&mut self.headers);
            self.headers.extend(
                KEPT.iter().flat_map(|name| {
                    told.get_all(name).iter().map(move |value| (name.clone(), value.clone()))
                }),
            );
        }
        self.url = url;
        Ok(self)
    }

    fn to_send(&self) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
        let fail = |error: hyper::http::Error| HttpError::Talk {
            end: self.url.end().to_string(),
            source: io::Error::other(error),
        };
        let mut request = hyper::Request::builder()
            .method(self.method.word())
            .uri(self.url.target())
            .header(header::HOST, self.url.authority())
            .header(header::CONNECTION, "close")
            .body(Full::new(self.body.clone()))
            .map_err(fail)?;
        request.headers_mut().extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Ok(request)
    }
}

impl fmt::Debug for HttpRequest {
    /// Without headers and body, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpRequest({} {})", self.method.word(), self.url.end())
    }
}

impl Http {
    /// A client on this network.
    pub fn new(network: Network, limits: HttpLimits) -> Self {
        Self { network, limits }
    }

    /// [`HttpRequest::new`] for somebody: a text that is no address is on record, without what may be secret in it.
    pub async fn request(
        &self,
        subject: &Subject,
        method: HttpMethod,
        url: &str,
    ) -> Result<HttpRequest, HttpError> {
        let request = HttpRequest::new(method, url);
        if let Err(HttpError::Url(why)) = &request {
            let (text, why) = (without_credentials(url), why.to_string());
            self.network.gate.refuse_text_from_task(subject, OPERATION, &text, why).await;
        }
        request
    }

    /// Makes a request and returns when the head of its answer is there. Takes `connect` of the host and port, of each redirect
    /// anew.
    ///
    /// Dropped half-way, the request may have been made; the log says that nobody knows.
    pub async fn send(&self, subject: &Subject, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut request, mut hops) = (request, 0);
        let (len, max) = (request.body.len(), self.limits.request_bytes_max);
        if len > max {
            return Err(HttpError::RequestTooLarge { len, max });
        }
        let deadline = after(self.limits.whole_timeout);
        loop {
            let end = request.url.end();
            // What is sent and what may come back.
            let bytes_max = (request.body.len() as u64).saturating_add(self.limits.body_bytes_max);
            let what = (NetVerb::Connect, OPERATION, bytes_max);
            let addresses_max = self.network.limits.addresses_max;
            let reached = self.network.reach(subject, what, &end, |_| true, addresses_max);
            let Ok(reached) = timeout_at(deadline, reached).await else {
                return Err(self.too_slow("reach", &request.url, self.limits.whole_timeout));
            };
            let (permit, there) = reached?;
            let response = permit
                .perform_from_task(async |_| {
                    let exchange = self.exchange(&request, &there, deadline);
                    timeout_at(deadline, exchange).await.unwrap_or_else(|_| {
                        Err(self.too_slow("make a request to", &request.url, self.limits.whole_timeout))
                    })
                })
                .await?;
            let max = match self.limits.redirects {
                Redirects::Followed { max } if matches!(response.status, 301 | 302 | 303 | 307 | 308) => max,
                Redirects::Followed { .. } | Redirects::Given => return Ok(response),
            };
            let mut locations = response.headers.get_all(header::LOCATION).iter();
            let location = match (locations.next().map(HeaderValue::to_str), locations.next()) {
                (Some(Ok(location)), None) => location,
                (Some(_), _) | (None, _) => {
                    return Err(HttpError::RedirectUnclear { end: end.to_string() });
                }
            };
            if hops == max {
                return Err(HttpError::RedirectsTooMany { end: end.to_string(), max });
            }
            hops += 1;
            request = match request.redirected(response.status, location) {
                Ok(request) => request,
                Err(error) => {
                    // Where an answer leads is asked for in the name of who sent the request.
                    let why = std::error::Error::source(&error)
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    let text = without_credentials(location);
                    self.network.gate.refuse_text_from_task(subject, OPERATION, &text, why).await;
                    return Err(error);
                }
            };
        }
    }

    async fn exchange(
        &self,
        request: &HttpRequest,
        there: &[std::net::SocketAddr],
        deadline: Instant,
    ) -> Result<HttpResponse, HttpError> {
        let end = request.url.end();
        let fail = |error: hyper::Error| self.told(&request.url, error);
        let open = self.network.open()?;
        let connect_deadline = self.network.connect_deadline().min(deadline);
        let (stream, peer) = self.network.dial(&end, there, connect_deadline).await?;
        let connection = match request.url.scheme() {
            Scheme::Http => Connection::of_tcp(stream, peer, open),
            Scheme::Https => {
                self.network.encrypt(&end, (stream, peer), open, connect_deadline, Speaks::Http).await?
            }
        };
        let bytes_max = self.limits.head_bytes_max;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(bytes_max.max(BUFFER_BYTES_MIN))
            .max_header_size(bytes_max)
            .max_headers(self.limits.headers_max)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(fail)?;
        let mut driven = Driven(Some(Box::pin(connection)));
        let mut response = pin!(sender.send_request(request.to_send()?));
        let response = std::future::poll_fn(|cx| {
            driven.drive(cx);
            response.as_mut().poll(cx)
        });
        let head_deadline = after(self.limits.head_timeout).min(deadline);
        let response = match timeout_at(head_deadline, response).await {
            Ok(response) => response.map_err(fail)?,
            Err(_) => {
                return Err(self.too_slow("read the answer of", &request.url, self.limits.head_timeout));
            }
        };
        let (head, incoming) = response.into_parts();
        if head.status.is_informational() {
            // Nobody asked to speak anything else than HTTP.
            let source = io::Error::other("the answer changes to another protocol");
            return Err(HttpError::Talk { end: end.to_string(), source });
        }
        let body = Body {
            incoming,
            connection: driven,
            read: 0,
            bytes_max: self.limits.body_bytes_max,
            deadline,
            timeout: self.limits.whole_timeout,
        };
        Ok(HttpResponse {
            status: head.status.as_u16(),
            headers: head.headers,
            url: request.url.clone(),
            body,
        })
    }

    fn told(&self, url: &HttpUrl, error: hyper::Error) -> HttpError {
        let end = url.end().to_string();
        // Clients are not told in another way; should the text change, the answer is an error all the same.
        if error.is_parse() && error.to_string() == "message head is too large" {
            let (bytes_max, headers_max) = (self.limits.head_bytes_max, self.limits.headers_max);
            return HttpError::HeadTooLarge { end, bytes_max, headers_max };
        }
        HttpError::Talk { end, source: io::Error::other(error) }
    }

    fn too_slow(&self, action: &'static str, url: &HttpUrl, after: Duration) -> HttpError {
        HttpError::TimedOut { action, end: url.end().to_string(), after }
    }
}

impl Driven {
    /// Moves bytes in both directions. An error reaches whoever waits for the answer or its body as well.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
    }
}

impl HttpResponse {
    /// The status, such as 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of this name, in any case, unless it is no ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All headers, names in lower case, in the order of names as they first came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Where it came from, after redirects.
    pub fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// The next part of the body; `None` at its end.
    ///
    /// Cancel safe: a part that was not returned is still waiting.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let end = || self.url.end().to_string();
        let body = &mut self.body;
        loop {
            let (deadline, after) = (body.deadline, body.timeout);
            let late = || HttpError::TimedOut { action: "read the answer of", end: end(), after };
            // Asked first, as what is there already would not be waited for.
            if Instant::now() >= deadline {
                return Err(late());
            }
            let frame = std::future::poll_fn(|cx| body.poll_frame(cx));
            let Ok(frame) = timeout_at(deadline, frame).await else {
                return Err(late());
            };
            let frame = match frame {
                None => return Ok(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Err(HttpError::Talk { end: end(), source: io::Error::other(error) });
                }
            };
            // What follows a body is nothing that was asked for.
            let Ok(bytes) = frame.into_data() else { continue };
            body.read = body.read.saturating_add(bytes.len() as u64);
            if body.read > body.bytes_max {
                return Err(HttpError::BodyTooLarge { end: end(), max: body.bytes_max });
            }
            return Ok(Some(bytes));
        }
    }

    /// The whole body of at most `bytes_max` bytes.
    pub async fn read(mut self, bytes_max: u64) -> Result<Vec<u8>, HttpError> {
        self.body.bytes_max = self.body.bytes_max.min(bytes_max);
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

impl Body {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        self.connection.drive(cx);
        Pin::new(&mut self.incoming).poll_frame(cx)
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({} of {})", self.status, self.url.end())
    }
}
