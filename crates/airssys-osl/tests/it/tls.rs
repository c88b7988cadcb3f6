//! Encryption behind the gate: nothing is said to who has not shown who they are.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_osl::{Http, HttpError, HttpLimits, HttpRequest, NetError, NetLimits, Trust, UrlError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, GeneralSubtree, IsCa, KeyPair, NameConstraints,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::http::{Answer, header, serve};
use crate::net::{Far, World};

/// An authority that only tests believe.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new(constraints: Option<NameConstraints>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = constraints;
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn trust(&self) -> Trust {
        Trust::nobody().and(self.0.der()).unwrap()
    }

    fn certify(&self, params: &CertificateParams) -> Shown {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key.into())
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    /// The names that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new((certificate, key): Shown, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, heard: Arc::default(), asked: Arc::default() };
        let (heard, asked, answer) = (server.heard.clone(), server.asked.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard, asked) = (acceptor.clone(), heard.clone(), asked.clone());
                let answer = answer.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let name = stream.get_ref().1.server_name().unwrap_or("").to_owned();
                        asked.lock().unwrap().push(name);
                        serve(stream, heard, answer).await;
                    }
                });
            }
        });
        server
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn world(port: u16) -> World {
    World::new(
        &format!("[[subject.allow]]\nconnect = [\"web.test:{port}\", \"other.test:{port}\"]\nprivate = true"),
        &[("web.test", &["127.0.0.1"]), ("other.test", &["127.0.0.1"])],
    )
}

async fn get(world: &World, trust: Trust, url: &str) -> Result<Vec<u8>, HttpError> {
    let http = Http::new(world.network.clone().with_trust(trust), HttpLimits::default());
    let request = HttpRequest::get(url)?.header("Authorization", "secret")?;
    http.send(&world.tool, request).await?.read(1024).await
}

#[tokio::test]
async fn e9_the_name_that_is_asked_for_in_tls_is_the_host_that_was_decided_about() {
    let authority = Authority::new(None);
    let shown = authority.certify(&named("web.test"));
    let server = Server::new(shown, |_| Answer::ok("hello")).await;
    let world = world(server.port);
    let body = get(&world, authority.trust(), &format!("https://WEB.test.:{}/x", server.port)).await.unwrap();
    assert_eq!(body, b"hello");
    let heard = server.heard();
    assert_eq!(*server.asked.lock().unwrap(), ["web.test"]);
    assert_eq!(header(&heard[0], "host").unwrap(), format!("web.test:{}", server.port));
    assert!(heard[0].starts_with("GET /x HTTP/1.1\r\n"));
    // Another name of the same address, granted, and not shown by who is there.
    let error = get(&world, authority.trust(), &format!("https://other.test:{}/", server.port)).await;
    assert!(matches!(error, Err(HttpError::Net(NetError::Tls { .. }))), "{error:?}");
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_stream_of_bytes_is_encrypted() {
    let authority = Authority::new(None);
    let server = Server::new(authority.certify(&named("web.test")), |_| Answer::Said(b"pong".into())).await;
    let world = world(server.port);
    let network = world.network.clone().with_trust(authority.trust());
    let mut connection =
        network.connect_tls(&world.tool, &format!("web.test:{}", server.port)).await.unwrap();
    connection.write_all(b"ping\r\n\r\n").await.unwrap();
    connection.flush().await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert_eq!((answer.as_str(), server.heard()), ("pong", vec!["ping\r\n\r\n".to_owned()]));
    let denied = network.connect_tls(&world.tool, "web.test:1").await;
    assert!(matches!(denied, Err(NetError::Denied(_))), "{denied:?}");
}

#[tokio::test]
async fn e20_nothing_is_said_to_who_has_not_shown_who_they_are() {
    let (authority, stranger) = (Authority::new(None), Authority::new(None));
    let key = KeyPair::generate().unwrap();
    let self_signed = (named("web.test").self_signed(&key).unwrap().der().clone(), key.into());
    let mut expired = named("web.test");
    expired.not_before = rcgen::date_time_ymd(2001, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let mut early = named("web.test");
    early.not_before = rcgen::date_time_ymd(3000, 1, 1);
    early.not_after = rcgen::date_time_ymd(3001, 1, 1);
    for (why, shown) in [
        ("self-signed", self_signed),
        ("of an authority that is not believed", stranger.certify(&named("web.test"))),
        ("of another name", authority.certify(&named("other.test"))),
        ("of names below", authority.certify(&named("*.web.test"))),
        ("of an address", authority.certify(&named("127.0.0.1"))),
        ("expired", authority.certify(&expired)),
        ("not valid yet", authority.certify(&early)),
    ] {
        let server = Server::new(shown, |_| Answer::ok("hello")).await;
        let world = world(server.port);
        let error = get(&world, authority.trust(), &format!("https://web.test:{}/", server.port)).await;
        assert!(matches!(error, Err(HttpError::Net(NetError::Tls { .. }))), "{why}: {error:?}");
        assert!(server.heard().is_empty(), "{why}: no request was made");
        assert_eq!(world.told().last().unwrap().1, "failed", "{why}: it is on record");
    }
}

#[tokio::test]
async fn e20_an_authority_speaks_for_the_names_that_it_may_and_no_others() {
    let dns = |name: &str| vec![GeneralSubtree::DnsName(name.to_owned())];
    for (permitted, excluded, is_good) in [
        (dns("web.test"), Vec::new(), true),
        (dns("other.test"), Vec::new(), false),
        (dns("test"), dns("web.test"), false),
    ] {
        let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded };
        let authority = Authority::new(Some(constraints));
        let server = Server::new(authority.certify(&named("web.test")), |_| Answer::ok("hello")).await;
        let url = format!("https://web.test:{}/", server.port);
        let outcome = get(&world(server.port), authority.trust(), &url).await;
        assert_eq!(outcome.is_ok(), is_good, "{outcome:?}");
        assert_eq!(server.heard().len(), usize::from(is_good));
    }
    // The authorities of the web do not know ours.
    let authority = Authority::new(None);
    let server = Server::new(authority.certify(&named("web.test")), |_| Answer::ok("hello")).await;
    let url = format!("https://web.test:{}/", server.port);
    assert!(get(&world(server.port), Trust::web(), &url).await.is_err());
    assert!(get(&world(server.port), Trust::nobody(), &url).await.is_err());
    assert!(Trust::nobody().and(b"no certificate").is_err());
}

#[tokio::test]
async fn e20_what_was_granted_for_https_is_not_spoken_in_the_clear() {
    let plain = HttpRequest::get("http://web.test:443/").unwrap_err();
    assert!(matches!(plain, HttpError::Url(UrlError::NotEncrypted)), "{plain:?}");
    // The usual port of the one is no leave for the usual port of the other.
    let world443 = world(443);
    let denied = get(&world443, Trust::nobody(), "http://web.test/").await;
    assert!(matches!(denied, Err(HttpError::Net(NetError::Denied(_)))), "{denied:?}");
    assert_eq!((world443.one_denial(&mut 0).as_str(), world443.asked()), ("no rule allows it", 0));
    // Nor does an answer lead there, though plain connections to it are granted.
    let far = Far::new();
    let authority = Authority::new(None);
    let location = format!("http://web.test:{}/", far.port());
    let server = Server::new(authority.certify(&named("web.test")), move |_| {
        Answer::Said(
            format!("HTTP/1.1 302 Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into(),
        )
    })
    .await;
    let world = World::new(
        "[[subject.allow]]\nconnect = [\"web.test:*\"]\nprivate = true",
        &[("web.test", &["127.0.0.1"])],
    );
    let error = get(&world, authority.trust(), &format!("https://web.test:{}/", server.port)).await;
    assert!(matches!(error, Err(HttpError::Downgrade { .. })), "{error:?}");
    assert_eq!((server.heard().len(), far.count()), (1, 0));
}

#[tokio::test]
async fn who_does_not_answer_in_tls_is_cut_off() {
    let far = Far::new();
    let world = world(far.port());
    let limits = NetLimits { connect_timeout: Duration::from_millis(300), ..NetLimits::default() };
    let network = world.network.clone().with_limits(limits);
    let error = network.connect_tls(&world.tool, &format!("web.test:{}", far.port())).await.unwrap_err();
    assert!(matches!(error, NetError::TimedOut { action: "agree on encryption with", .. }), "{error:?}");
    assert_eq!((far.count(), world.told().last().unwrap().1.as_str()), (1, "failed"));
}
