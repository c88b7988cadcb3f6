//! Requests behind the gate: each hop is decided, nothing is said to who should not hear it, and what comes back is bounded.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_osl::{
    AddressKind, HostError, HostName, Http, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse,
    HttpUrl, Layer, NetError, NetLimits, Network, Policy, Quota, QuotaOptions, Redirects, Resolver, UrlError,
};
use proptest::prelude::{any, prop_assert_eq, proptest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::audit::records;
use crate::net::{Far, World, policy};

/// Long enough that only a hang reaches it.
const LONG: Duration = Duration::from_secs(60);

/// What a server does with a request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// Says this and closes.
    Said(Vec<u8>),
    /// Says this, and then this again and again, with a pause before each time.
    Drips(Vec<u8>, Vec<u8>, Duration),
}

impl Answer {
    pub(crate) fn ok(body: &str) -> Self {
        Self::said(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    fn said(text: impl Into<String>) -> Self {
        Self::Said(text.into().into_bytes())
    }

    fn to(status: u16, location: &str) -> Self {
        Self::said(format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
    }
}

/// A server of this machine that keeps what it was told. Ends with the runtime of its test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), heard: Arc::default() };
        let (heard, answer) = (server.heard.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, heard.clone(), answer.clone()));
            }
        });
        server
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far, whole.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// Hears one request of a stream, keeps it and answers.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heard: Arc<Mutex<Vec<String>>>,
    answer: Arc<impl Fn(&str) -> Answer>,
) {
    let mut bytes = Vec::new();
    let text = loop {
        let Ok(1..) = stream.read_buf(&mut bytes).await else { return };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let len = header(head, "content-length").map_or(0, |len| len.parse().unwrap());
        if body.len() >= len {
            break text;
        }
    };
    heard.lock().unwrap().push(text.clone());
    // The other side may hang up at any time, which is what some tests are about.
    match answer(&text) {
        Answer::Said(bytes) => {
            if stream.write_all(&bytes).await.is_ok() {
                drop(stream.shutdown().await);
            }
        }
        Answer::Drips(first, again, pause) => {
            let mut said = stream.write_all(&first).await;
            while said.is_ok() {
                tokio::time::sleep(pause).await;
                said = stream.write_all(&again).await;
            }
        }
    }
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

const NAMES: &[(&str, &[&str])] = &[("a.test", &["127.0.0.1"]), ("b.test", &["127.0.0.1"])];

/// Leave to connect to the names of tests at these ports.
fn leave(ends: &[impl std::fmt::Debug]) -> String {
    format!("[[subject.allow]]\nconnect = {ends:?}\nprivate = true\n")
}

fn world(ends: &[impl std::fmt::Debug]) -> World {
    World::new(&leave(ends), NAMES)
}

async fn send(world: &World, limits: HttpLimits, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let http = Http::new(world.network.clone(), limits);
    tokio::time::timeout(LONG, http.send(&world.tool, request)).await.expect("no hang")
}

async fn get(world: &World, url: &str) -> Result<HttpResponse, HttpError> {
    send(world, HttpLimits::default(), HttpRequest::get(url)?).await
}

#[track_caller]
fn is_denied(outcome: Result<HttpResponse, HttpError>) {
    assert!(matches!(outcome, Err(HttpError::Net(NetError::Denied(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_request_is_made_and_its_answer_is_read() {
    let server = Server::new(|_| {
        Answer::said("HTTP/1.1 201 Made\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    })
    .await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let request = HttpRequest::new(HttpMethod::Post, &format!("http://{end}/things?q=1%20x"))
        .unwrap()
        .header("Content-Type", "text/plain")
        .unwrap()
        .body("the body");
    let http = Http::new(world.network.clone(), HttpLimits::default());
    let tool = world.tool.clone();
    let response = tokio::spawn(async move { http.send(&tool, request).await }).await.unwrap().unwrap();
    assert_eq!((response.status(), response.header("x-one")), (201, Some("1")));
    assert_eq!(response.read(7).await.unwrap(), b"abcdefg");
    let heard = server.heard();
    let (head, body) = heard[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /things?q=1%20x HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "host"), Some(end.as_str()));
    assert_eq!(header(head, "connection"), Some("close"));
    assert_eq!(
        (header(head, "content-type"), header(head, "content-length")),
        (Some("text/plain"), Some("8"))
    );
    assert_eq!((heard.len(), body), (1, "the body"));
    let told: Vec<String> = world.told().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(told, ["intent", "outcome", "intent", "outcome"], "looking up, and the request");
}

#[tokio::test]
async fn e7_a_redirect_is_decided_like_a_request_of_its_own() {
    let far = Far::new();
    let other = format!("http://a.test:{}/", far.port());
    let denied = format!("http://denied.test:{}/", far.port());
    let literal = format!("http://127.0.0.1:{}/", far.port());
    for status in [301, 302, 303, 307, 308] {
        for location in [&other, &denied, &literal, &other.replace("http:", "")] {
            let to = location.clone();
            let server = Server::new(move |_| Answer::to(status, &to)).await;
            let end = format!("a.test:{}", server.port());
            let world = world(&[&end]);
            is_denied(get(&world, &format!("http://{end}/")).await);
            assert_eq!(world.one_denial(&mut 0), "no rule allows it", "{status} to {location}");
            assert_eq!((server.heard().len(), far.count(), world.asked()), (1, 0, 1));
        }
    }
}

#[tokio::test]
async fn e7_a_redirect_to_another_scheme_or_to_no_place_is_an_error() {
    for location in [
        "ftp://a.test/",
        "file:///etc/passwd",
        "unix:/run/docker.sock",
        "javascript:alert(1)",
        "ws://a.test/",
        "http://user:password@a.test/",
        "http://a.test\\@b.test/",
        "http://0x7f.1/",
        "//a.test:0/",
        "/%00",
    ] {
        let server = Server::new(move |_| Answer::to(302, location)).await;
        let end = format!("a.test:{}", server.port());
        let world = world(&[&end]);
        let error = get(&world, &format!("http://{end}/")).await.unwrap_err();
        assert!(matches!(error, HttpError::Redirect { .. }), "{location}: {error:?}");
        assert_eq!(server.heard().len(), 1);
        let told = world.told();
        assert_eq!(told.iter().filter(|(kind, _)| kind == "denial").count(), 1, "{location}: {told:?}");
    }
    for head in ["", "Location: /a\r\nLocation: /b\r\n", "Location: /\u{fc}\r\n"] {
        let answer = format!("HTTP/1.1 302 Elsewhere\r\n{head}Content-Length: 0\r\n\r\n");
        let server = Server::new(move |_| Answer::said(answer.clone())).await;
        let end = format!("a.test:{}", server.port());
        let error = get(&world(&[&end]), &format!("http://{end}/")).await.unwrap_err();
        assert!(matches!(error, HttpError::RedirectUnclear { .. }), "{head:?}: {error:?}");
    }
}

#[tokio::test]
async fn e7_what_was_said_to_one_origin_is_not_said_to_another() {
    let second = Server::new(|_| Answer::ok("there")).await;
    for (host, kept) in [("b.test", false), ("a.test", false)] {
        let location = format!("http://{host}:{}/next", second.port());
        let first = Server::new(move |_| Answer::to(307, &location)).await;
        let ends = [format!("a.test:{}", first.port()), format!("{host}:{}", second.port())];
        let world = world(&ends);
        let mut request = HttpRequest::get(&format!("http://{}/", ends[0])).unwrap();
        for (name, value) in [
            ("Authorization", "Bearer secret"),
            ("Cookie", "secret=1"),
            ("X-Api-Key", "secret"),
            ("Accept", "text/plain"),
        ] {
            request = request.header(name, value).unwrap();
        }
        let response = send(&world, HttpLimits::default(), request).await.unwrap();
        assert_eq!(response.url().to_string(), format!("http://{}/next", ends[1]));
        assert_eq!(response.read(100).await.unwrap(), b"there");
        assert!(first.heard()[0].contains("secret"));
        let heard = second.heard();
        let heard = heard.last().unwrap();
        assert_eq!(heard.contains("secret"), kept, "{heard}");
        assert_eq!((header(heard, "host"), header(heard, "accept")), (Some(&*ends[1]), Some("text/plain")));
        let intents = world.told().iter().filter(|(kind, _)| kind == "intent").count();
        assert_eq!(intents, 4, "each hop is on record");
    }
}

#[tokio::test]
async fn e7_within_an_origin_headers_stay_and_methods_change_as_the_status_says() {
    for (status, method, expected, body) in [
        (301, HttpMethod::Post, "GET", ""),
        (302, HttpMethod::Post, "GET", ""),
        (303, HttpMethod::Put, "GET", ""),
        (303, HttpMethod::Head, "HEAD", ""),
        (302, HttpMethod::Put, "PUT", "body"),
        (307, HttpMethod::Post, "POST", "body"),
        (308, HttpMethod::Post, "POST", "body"),
    ] {
        let server = Server::new(move |request| {
            if request.contains(" /a/first?q ") {
                Answer::to(status, "../b/./second?r#part")
            } else {
                Answer::said("HTTP/1.1 204 Done\r\n\r\n")
            }
        })
        .await;
        let end = format!("a.test:{}", server.port());
        let request = HttpRequest::new(method, &format!("http://{end}/a/first?q")).unwrap();
        let request = request.header("Authorization", "mine").unwrap();
        let request = if method == HttpMethod::Head { request } else { request.body("body") };
        let response = send(&world(&[end]), HttpLimits::default(), request).await.unwrap();
        assert_eq!(response.status(), 204);
        let heard = server.heard();
        let (head, told) = heard[1].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("{expected} /b/second?r HTTP/1.1")), "{status}: {head}");
        assert_eq!((header(head, "authorization"), told), (Some("mine"), body), "{status}");
    }
}

#[tokio::test]
async fn e7_redirects_are_followed_so_often_and_no_oftener() {
    let server = Server::new(|_| Answer::to(302, "/again")).await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let limits = |redirects| HttpLimits { redirects, ..HttpLimits::default() };
    let request = || HttpRequest::get(&format!("http://{end}/")).unwrap();
    let error = send(&world, limits(Redirects::Followed { max: 2 }), request()).await.unwrap_err();
    assert!(matches!(error, HttpError::RedirectsTooMany { max: 2, .. }), "{error:?}");
    assert_eq!(server.heard().len(), 3);
    let given = send(&world, limits(Redirects::Given), request()).await.unwrap();
    assert_eq!((given.status(), given.header("location")), (302, Some("/again")));
    assert_eq!(server.heard().len(), 4);
}

/// The request of [`e8_no_proxy_is_taken_from_the_environment`], in a process with the environment that the test made.
#[tokio::test]
async fn e8_in_a_process_with_proxies() {
    let Ok(end) = std::env::var("AIRSSYS_OSL_TEST_END") else { return };
    assert!(std::env::var("HTTP_PROXY").is_ok());
    let response = get(&world(&[&end]), &format!("http://{end}/direct")).await.unwrap();
    assert_eq!(response.read(100).await.unwrap(), b"direct");
    // It speaks no TLS, so what is encrypted comes to no end; a proxy would have been asked by then.
    let limits = NetLimits { connect_timeout: Duration::from_millis(300), ..NetLimits::default() };
    let world = world(&[&end]);
    let http = Http::new(world.network.clone().with_limits(limits), HttpLimits::default());
    let encrypted = HttpRequest::get(&format!("https://{end}/")).unwrap();
    assert!(http.send(&world.tool, encrypted).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_no_proxy_is_taken_from_the_environment() {
    let (server, proxy) = (Server::new(|_| Answer::ok("direct")).await, Far::new());
    let mut child = tokio::task::spawn_blocking({
        let (end, port) = (format!("a.test:{}", server.port()), proxy.port());
        move || {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "http::e8_in_a_process_with_proxies"]);
            command.env("AIRSSYS_OSL_TEST_END", end).env_remove("NO_PROXY").env_remove("no_proxy");
            for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
                command.env(name, format!("http://127.0.0.1:{port}"));
            }
            for name in ["ALL_PROXY", "all_proxy"] {
                command.env(name, format!("socks5://127.0.0.1:{port}"));
            }
            command.output().unwrap()
        }
    })
    .await
    .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    child.stdout.clear();
    assert_eq!((server.heard().len(), proxy.count()), (1, 0), "the end itself was asked");
}

#[tokio::test]
async fn e9_who_is_asked_is_who_is_connected_to() {
    for name in [
        "Host",
        "host",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "HTTP2-Settings",
    ] {
        let error = HttpRequest::get("http://a.test/").unwrap().header(name, "b.test").unwrap_err();
        assert!(matches!(error, HttpError::HeaderNotYours { .. }), "{name}: {error:?}");
    }
    for (name, value) in [(":authority", "b.test"), ("Host ", "b.test"), ("x", "1\r\nHost: b.test"), ("", "")]
    {
        let error = HttpRequest::get("http://a.test/").unwrap().header(name, value).unwrap_err();
        assert!(matches!(error, HttpError::Header { .. }), "{name}: {error:?}");
    }
    // Two names of one address: two connections, each with its own host.
    let server = Server::new(|_| Answer::ok("")).await;
    let ends = ["a.test", "b.test"].map(|name| format!("{name}:{}", server.port()));
    let world = world(&ends);
    for end in &ends {
        get(&world, &format!("http://{end}/")).await.unwrap();
    }
    let heard = server.heard();
    let hosts: Vec<_> = heard.iter().map(|request| header(request, "host").unwrap()).collect();
    assert_eq!(hosts, ends);
}

#[tokio::test]
async fn e10_an_address_that_programs_read_differently_is_no_address() {
    let (world, mut asked) = (world(&["*.test:*"]), 0);
    for (url, expected) in [
        ("http://a.test@b.test/", UrlError::Credentials),
        ("http://user:password@a.test/", UrlError::Credentials),
        ("http://a.test#@b.test/", UrlError::Fragment),
        ("http://a.test/#", UrlError::Fragment),
        ("http://a.test\\@b.test/", UrlError::Character { found: '\\' }),
        ("http:\\\\a.test/", UrlError::Character { found: '\\' }),
        ("http://a.te\tst/", UrlError::Character { found: '\t' }),
        ("http://a.test\n.b.test/", UrlError::Character { found: '\n' }),
        ("http://a.test/ HTTP/1.1\r\nHost: b.test", UrlError::Character { found: ' ' }),
        ("http://a.test\0.b.test/", UrlError::Character { found: '\0' }),
        ("http://a\u{3002}test/", UrlError::Character { found: '\u{3002}' }),
        ("http://a.test%00.b.test/", UrlError::Escape),
        ("http://a.test/%00", UrlError::Escape),
        ("http://a.test/%0", UrlError::Escape),
        ("http://a.test/%zz", UrlError::Escape),
        ("http://a%2etest/", UrlError::Host(HostError::Label)),
        ("http://a.test&b.test/", UrlError::Host(HostError::Label)),
        ("http:///a.test/", UrlError::Host(HostError::Empty)),
        ("http://[a.test]/", UrlError::Host(HostError::StrangeNumber)),
        ("http://[::1]b.test/", UrlError::Host(HostError::StrangeNumber)),
        ("http://0x7f.1/", UrlError::Host(HostError::StrangeNumber)),
        ("http://2130706433/", UrlError::Host(HostError::StrangeNumber)),
        ("http://::1/", UrlError::Port),
        ("http:a.test/", UrlError::Scheme),
        ("//a.test/", UrlError::Scheme),
        ("a.test", UrlError::Scheme),
        (" http://a.test/", UrlError::Character { found: ' ' }),
    ] {
        let http = Http::new(world.network.clone(), HttpLimits::default());
        for asked in [HttpRequest::get(url), http.request(&world.tool, HttpMethod::Get, url).await] {
            match asked {
                Err(HttpError::Url(source)) => assert_eq!(source, expected, "{url:?}"),
                other => panic!("{url:?}: {other:?}"),
            }
        }
        let told = world.told();
        asked += 1;
        assert_eq!(told.len(), asked, "{url:?}: one record of what somebody asked for");
        assert_eq!(told[asked - 1], ("denial".to_owned(), expected.to_string()));
    }
    let shown: Vec<String> = records(&world.folder.path().join("log"))
        .iter()
        .map(|record| record["denied"].as_str().unwrap().to_owned())
        .collect();
    assert!(shown.iter().all(|shown| !shown.contains("password")), "{shown:?}");
    assert_eq!(
        shown[..3],
        ["the text `http://…@b.test/`", "the text `http://…@a.test/`", "the text `http://a.test/…`"]
    );
    let error = HttpRequest::get("http://user:password@a.test/").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("password"), "{error:?}");
    let long = |len: usize| format!("http://a.test/{}", "x".repeat(len - 14));
    assert!(HttpUrl::parse(&long(8192)).is_ok());
    assert_eq!(HttpUrl::parse(&long(8193)), Err(UrlError::TooLong));
    assert_eq!((world.asked(), world.told().len()), (0, asked));
}

#[tokio::test]
async fn e10_a_refused_address_shows_its_host_and_no_password_token_or_path() {
    let world = world(&["*.test:*"]);
    let http = Http::new(world.network.clone(), HttpLimits::default());
    for (url, expected) in [
        ("http://me:hunter2@a.test:80/x?token=hunter2", "http://…@a.test:80/…"),
        ("http://me:hunter2/@a.test/", "http://…@/…"),
        ("http://me:hunter2\\@a.test/", "http://…@/…"),
        ("http://a.test/hunter2 @b.test", "http://a.test/…"),
        ("http://a.test?hunter2=1 2", "http://a.test/…"),
        ("me:hunter2@a.test", "…@a.test"),
    ] {
        http.request(&world.tool, HttpMethod::Get, url).await.unwrap_err();
        let records = records(&world.folder.path().join("log"));
        let record = records.last().unwrap();
        assert_eq!(record["denied"], format!("the text `{expected}`"), "{url}");
        assert!(!record.to_string().contains("hunter2"), "{record}");
    }
}

#[tokio::test]
async fn e19_a_body_that_came_in_time_is_not_read_late() {
    let server = Server::new(|_| Answer::ok("body")).await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let limits = HttpLimits { whole_timeout: Duration::from_secs(3), ..HttpLimits::default() };
    let request = || HttpRequest::get(&format!("http://{end}/")).unwrap();
    // A machine that is too slow for the head is tried again.
    let mut response = loop {
        match send(&world, limits, request()).await {
            Ok(response) => break response,
            Err(HttpError::TimedOut { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    tokio::time::sleep(limits.whole_timeout).await;
    let late = response.chunk().await;
    assert!(matches!(late, Err(HttpError::TimedOut { .. })), "{late:?}");
    let limits =
        HttpLimits { head_timeout: Duration::MAX, whole_timeout: Duration::MAX, ..HttpLimits::default() };
    assert_eq!(send(&world, limits, request()).await.unwrap().read(4).await.unwrap(), b"body");
}

#[tokio::test]
async fn e19_looking_a_name_up_counts_for_the_time_of_all() {
    let world = World::asking(&leave(&["a.test:80"]), |_| {
        std::thread::sleep(Duration::from_secs(3));
        Ok(vec![])
    });
    let short = Duration::from_millis(200);
    let limits = HttpLimits { whole_timeout: short, ..HttpLimits::default() };
    let error = send(&world, limits, HttpRequest::get("http://a.test/").unwrap()).await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { after, .. } if after == short), "{error:?}");
}

#[tokio::test]
async fn g18_a_request_counts_with_what_it_sends_and_what_may_come_back() {
    let server = Server::new(|_| Answer::ok("four")).await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let quota = Quota::new(QuotaOptions { bytes_max: 10, ..QuotaOptions::default() });
    let gate = world.gate.with_layers([Layer::Quota(quota.clone())]);
    let names = [(HostName::parse("a.test").unwrap(), vec!["127.0.0.1".parse().unwrap()])];
    let network = Network::new(gate).with_resolver(Resolver::fixed(names));
    let http = Http::new(network, HttpLimits { body_bytes_max: 4, ..HttpLimits::default() });
    let request =
        |len| HttpRequest::new(HttpMethod::Post, &format!("http://{end}/")).unwrap().body(vec![b'x'; len]);
    is_denied(http.send(&world.tool, request(7)).await);
    assert_eq!(server.heard().len(), 0);
    http.send(&world.tool, request(6)).await.unwrap();
    assert_eq!((quota.usage(&world.tool).bytes, server.heard().len()), (10, 1));
    is_denied(http.send(&world.tool, request(0)).await);
}

proptest! {
    #[test]
    fn e10_whoever_else_reads_an_address_that_is_taken_reads_the_same(
        text in "(http|https|HTTP)://[a-c.:@/#?%0-9x\\[\\]\\\\]{0,20}(/[a-c./?%2e@:#]{0,8})?",
        noise in any::<String>(),
    ) {
        for text in [text.clone(), format!("{text}{noise}")] {
            let (Ok(ours), Ok(theirs)) = (HttpUrl::parse(&text), url::Url::parse(&text)) else { continue };
            let shown = ours.to_string();
            prop_assert_eq!(HttpUrl::parse(&shown), Ok(ours.clone()));
            let host = theirs.host_str().unwrap();
            let port = theirs.port().map_or_else(String::new, |port| format!(":{port}"));
            let theirs_host = format!("{}{port}", host.strip_suffix('.').unwrap_or(host));
            // What carries IPv4 inside is IPv4 here.
            if !host.starts_with('[') {
                prop_assert_eq!(ours.authority(), theirs_host, "{}", text);
            }
            prop_assert_eq!(theirs.username(), "");
        }
    }
}

#[tokio::test]
async fn e11_the_usual_port_is_a_port_and_an_empty_one_is_none() {
    let world = World::new(&leave(&["a.test:8080"]), NAMES);
    for (url, access) in [
        ("http://A.Test./", "`connect a.test:80`"),
        ("http://a.test:80/", "`connect a.test:80`"),
        ("HTTPS://a.test", "`connect a.test:443`"),
        ("https://a.test:443?x", "`connect a.test:443`"),
        ("https://a.test:80/", "`connect a.test:80`"),
    ] {
        let mut seen = world.told().len();
        let error = get(&world, url).await.unwrap_err();
        assert!(error.to_string().contains(access), "{url}: {error}");
        assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    }
    for port in ["", "0", "00080", "+80", "65536", "-1", "80:80", "8 0"] {
        let url = format!("http://a.test:{port}/");
        assert!(matches!(HttpRequest::get(&url), Err(HttpError::Url(_))), "{url}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn e12_an_address_in_the_url_is_decided_and_needs_no_resolver() {
    let far = Far::new();
    let world = World::new("[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true", &[]);
    let mut seen = 0;
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254"] {
        is_denied(get(&world, &format!("http://{host}:{}/", far.port())).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{host}");
    }
    assert_eq!((far.count(), world.asked()), (0, 0));
    assert_eq!(AddressKind::of([169, 254, 169, 254].into()), AddressKind::Private);
}

#[tokio::test]
async fn e17_no_connection_outlives_the_decision_it_was_made_for() {
    let server = Server::new(|_| {
        Answer::said("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
    })
    .await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let url = format!("http://{end}/");
    let open = get(&world, &url).await.unwrap();
    world.gate.replace_policy(Policy::parse(&policy(""), "p.toml").unwrap());
    assert_eq!(open.read(2).await.unwrap(), b"hi", "what was permitted is finished");
    let mut seen = world.told().len();
    is_denied(get(&world, &url).await);
    assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn e18_there_is_http_and_nothing_else() {
    for url in [
        "ws://a.test/",
        "wss://a.test/",
        "ftp://a.test/",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/",
        "vsock://2:80/",
        "h2c://a.test/",
        "data:text/plain,x",
        "httpx://a.test/",
    ] {
        assert!(matches!(HttpRequest::get(url), Err(HttpError::Url(_))), "{url}");
    }
    // A server that changes to another protocol unasked is not followed there.
    let server = Server::new(|_| {
        Answer::said("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\u{1}")
    })
    .await;
    let end = format!("a.test:{}", server.port());
    let error = get(&world(&[&end]), &format!("http://{end}/")).await.unwrap_err();
    assert!(matches!(error, HttpError::Talk { .. }), "{error:?}");
}

const SMALL: fn() -> HttpLimits = || HttpLimits {
    head_bytes_max: 8 << 10,
    headers_max: 8,
    body_bytes_max: 100,
    request_bytes_max: 10,
    ..HttpLimits::default()
};

async fn answered(answer: Answer, limits: HttpLimits) -> (World, Result<Vec<u8>, HttpError>) {
    let server = Server::new(move |_| answer.clone()).await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let response = send(&world, limits, HttpRequest::get(&format!("http://{end}/")).unwrap()).await;
    let outcome = match response {
        Ok(response) => tokio::time::timeout(LONG, response.read(u64::MAX)).await.expect("no hang"),
        Err(error) => Err(error),
    };
    (world, outcome)
}

#[tokio::test]
async fn e19_a_head_is_as_large_as_may_be_and_no_larger() {
    let head = |headers: usize, len: usize| {
        let lines: String = (0..headers).map(|n| format!("X-{n}: {}\r\n", "v".repeat(len))).collect();
        Answer::said(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
    };
    assert_eq!(answered(head(8, 10), SMALL()).await.1.unwrap(), b"");
    // A line of the status, a line of one header, and the empty line.
    let other = "HTTP/1.1 200 OK\r\nX-0: \r\n\r\n".len();
    assert_eq!(answered(head(1, (8 << 10) - other), SMALL()).await.1.unwrap(), b"");
    for (headers, len) in [(9, 10), (1, (8 << 10) - other + 1), (1, 4 << 20)] {
        let (world, outcome) = answered(head(headers, len), SMALL()).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, HttpError::HeadTooLarge { .. }), "{headers} of {len}: {error:?}");
        assert_eq!(world.told().last().unwrap().1, "failed", "it is on record");
    }
    // A head that never ends, and early answers before it without end.
    let pause = Duration::ZERO;
    for again in ["X-More: and more\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let limits = HttpLimits { head_timeout: Duration::from_millis(500), ..SMALL() };
        let first = if again.starts_with('X') { "HTTP/1.1 200 OK\r\n" } else { "" };
        let endless = Answer::Drips(first.into(), again.repeat(100).into(), pause);
        let error = answered(endless, limits).await.1.unwrap_err();
        assert!(
            matches!(error, HttpError::HeadTooLarge { .. } | HttpError::TimedOut { .. }),
            "{again:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn e19_a_body_is_as_large_as_may_be_and_no_larger() {
    let sized = |len: usize| Answer::ok(&"b".repeat(len));
    assert_eq!(answered(sized(100), SMALL()).await.1.unwrap().len(), 100);
    for answer in [
        sized(101),
        sized(1 << 20),
        Answer::said(format!("HTTP/1.1 200 OK\r\n\r\n{}", "b".repeat(101))),
        Answer::Drips(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            "5\r\nabcde\r\n".into(),
            Duration::ZERO,
        ),
    ] {
        let error = answered(answer, SMALL()).await.1.unwrap_err();
        assert!(matches!(error, HttpError::BodyTooLarge { max: 100, .. }), "{error:?}");
    }
    // What is read at once has its own bound.
    let server = Server::new(|_| Answer::ok("four")).await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let url = format!("http://{end}/");
    assert_eq!(get(&world, &url).await.unwrap().read(4).await.unwrap(), b"four");
    let error = get(&world, &url).await.unwrap().read(3).await.unwrap_err();
    assert!(matches!(error, HttpError::BodyTooLarge { max: 3, .. }), "{error:?}");
    // What is compressed is given as it came.
    let gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbomb";
    assert_eq!(answered(Answer::said(gzip), SMALL()).await.1.unwrap(), b"bomb");
}

#[tokio::test]
async fn e19_who_dawdles_is_cut_off() {
    let short = Duration::from_millis(300);
    let pause = Duration::from_millis(20);
    let limits = HttpLimits { head_timeout: short, ..HttpLimits::default() };
    let dawdles = Answer::Drips("HTTP/1.1 200 OK\r\nX-Slow: ".into(), "z".into(), pause);
    let (world, outcome) = answered(dawdles, limits).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { after, .. } if after == short), "{error:?}");
    assert_eq!(world.told().last().unwrap().1, "failed");

    let limits = HttpLimits { whole_timeout: short, ..HttpLimits::default() };
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let error = answered(Answer::Drips(body.into(), "z".into(), pause), limits).await.1.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn e19_who_announces_an_answer_for_ever_or_never_ends_one_is_cut_off() {
    let short = Duration::from_millis(300);
    let limits = HttpLimits { head_timeout: short, ..HttpLimits::default() };
    // As fast as may be, so that there is always something to read.
    let hints =
        Answer::Drips(Vec::new(), "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100).into(), Duration::ZERO);
    let error = answered(hints, limits).await.1.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { after, .. } if after == short), "{error:?}");
    let trailers = Answer::Drips(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n".into(),
        "X-Trailer: more\r\n".repeat(100).into(),
        Duration::ZERO,
    );
    let error = answered(trailers, HttpLimits::default()).await.1.unwrap_err();
    assert!(matches!(error, HttpError::Talk { .. }), "{error:?}");
    let extensions = Answer::Drips(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;".into(),
        "more".repeat(100).into(),
        Duration::ZERO,
    );
    let error = answered(extensions, HttpLimits::default()).await.1.unwrap_err();
    assert!(matches!(error, HttpError::Talk { .. }), "{error:?}");
}

#[tokio::test]
async fn e19_what_is_no_answer_is_an_error() {
    for answer in [
        "",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        "HTTP/1.1 200 OK\r\nX-One : 1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let error = answered(Answer::said(answer), SMALL()).await.1.unwrap_err();
        assert!(matches!(error, HttpError::Talk { .. }), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_request_is_as_large_as_may_be_and_no_larger() {
    let server = Server::new(|_| Answer::ok("")).await;
    let end = format!("a.test:{}", server.port());
    let world = world(&[&end]);
    let post =
        |len| HttpRequest::new(HttpMethod::Post, &format!("http://{end}/")).unwrap().body(vec![b'x'; len]);
    send(&world, SMALL(), post(10)).await.unwrap();
    let error = send(&world, SMALL(), post(11)).await.unwrap_err();
    assert!(matches!(error, HttpError::RequestTooLarge { len: 11, max: 10 }), "{error:?}");
    assert_eq!(server.heard().len(), 1);
    let many = |len: usize| {
        (0..len).try_fold(HttpRequest::get("http://a.test/").unwrap(), |request, n| {
            request.header(&format!("x-{n}"), "v")
        })
    };
    assert!(many(64).is_ok() && matches!(many(65), Err(HttpError::Headers)));
    let long = |len: usize| HttpRequest::get("http://a.test/").unwrap().header("x", &"v".repeat(len));
    assert!(long((32 << 10) - 1).is_ok() && matches!(long(32 << 10), Err(HttpError::Headers)));
}
