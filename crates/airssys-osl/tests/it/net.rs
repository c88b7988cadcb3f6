//! The network behind the gate: bytes go where the policy says and nowhere else, whatever names are looked up as.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use airssys_osl::audit::AuditOptions;
use airssys_osl::{
    Connection, EndError, Gate, HostError, HostName, Layer, Name, NetError, NetLimits, Network, Policy,
    Quota, QuotaOptions, Resolver, Root, Subject,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::audit::{gate_by, records};

/// Long enough that only a hang reaches it.
const LONG: Duration = Duration::from_secs(60);

/// A gate with its log, and what stands behind it.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) gate: Gate,
    pub(crate) network: Network,
    pub(crate) tool: Subject,
    asked: Arc<AtomicUsize>,
}

pub(crate) fn policy(rules: &str) -> String {
    format!("version = 1\n[[subject]]\nname = \"tool\"\n{rules}")
}

impl World {
    /// These rules for the one subject, and names that are looked up as this says.
    pub(crate) fn new(rules: &str, names: &[(&str, &[&str])]) -> Self {
        let names: Vec<(String, Vec<IpAddr>)> = names
            .iter()
            .map(|(name, addresses)| {
                ((*name).to_owned(), addresses.iter().map(|address| address.parse().unwrap()).collect())
            })
            .collect();
        Self::asking(rules, move |name| {
            let found = names.iter().find(|(known, _)| known == name.as_str());
            found.map(|(_, addresses)| addresses.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    pub(crate) fn asking(
        rules: &str,
        ask: impl Fn(&HostName) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gate = gate_by(&policy(rules), &folder.path().join("log"), AuditOptions::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let resolver = Resolver::custom(move |name| {
            count.fetch_add(1, Ordering::SeqCst);
            ask(name)
        });
        let network = Network::new(gate.clone()).with_resolver(resolver);
        Self { folder, gate, network, tool: Subject::parse("tool").unwrap(), asked }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What stands on record: the kind of each record and what it says of why.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let word = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap_or("").to_owned();
        let records = records(&self.folder.path().join("log"));
        let why = |record: &serde_json::Value| match record["kind"].as_str() {
            Some("outcome") => word(record, "outcome"),
            _ => word(record, "rule"),
        };
        records.iter().map(|record| (word(record, "kind"), why(record))).collect()
    }

    /// The one denial since this was asked last, by its rule.
    #[track_caller]
    pub(crate) fn one_denial(&self, seen: &mut usize) -> String {
        let told = self.told();
        let denials: Vec<&String> =
            told[*seen..].iter().filter(|(kind, _)| kind == "denial").map(|(_, rule)| rule).collect();
        assert_eq!(denials.len(), 1, "one record of one denial: {denials:?}");
        *seen = told.len();
        denials[0].clone()
    }

    async fn connect(&self, end: impl std::fmt::Display) -> Result<Connection, NetError> {
        tokio::time::timeout(LONG, self.network.connect(&self.tool, &end.to_string())).await.expect("no hang")
    }
}

/// A listener that counts who comes.
pub(crate) struct Far(TcpListener);

impl Far {
    pub(crate) fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Connections since this was asked last. One that was opened over loopback is there at once.
    pub(crate) fn count(&self) -> usize {
        std::iter::from_fn(|| self.0.accept().ok()).count()
    }
}

#[track_caller]
pub(crate) fn is_denied<T: std::fmt::Debug>(outcome: Result<T, NetError>) {
    assert!(matches!(outcome, Err(NetError::Denied(_))), "{outcome:?}");
}

/// Both ends of the same port of two addresses of this machine.
fn two() -> (Far, Far, u16) {
    loop {
        let one = Far::at("127.0.0.1:0");
        let port = one.port();
        if let Ok(listener) = TcpListener::bind(("127.0.0.2", port)) {
            listener.set_nonblocking(true).unwrap();
            return (one, Far(listener), port);
        }
    }
}

#[tokio::test]
async fn bytes_go_in_and_out_of_what_is_allowed() {
    let world = World::new(
        "[[subject.allow]]\nlisten = [\"127.0.0.1:*\"]\n[[subject.allow]]\nconnect = [\"here.test:*\"]\nprivate = true",
        &[("here.test", &["127.0.0.1"])],
    );
    let listener = world.network.listen(&world.tool, "127.0.0.1:0").await.unwrap();
    let port = listener.address().unwrap().port();
    let (network, tool) = (world.network.clone(), world.tool.clone());
    let client = tokio::spawn(async move {
        let mut client = network.connect(&tool, &format!("here.test:{port}")).await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(client.peer().unwrap(), SocketAddr::from(([127, 0, 0, 1], port)));
        answer
    });
    let mut served = listener.accept().await.unwrap();
    let mut question = String::new();
    served.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    served.write_all(b"answer").await.unwrap();
    drop(served);
    assert_eq!(client.await.unwrap(), "answer");
    let records = records(&world.folder.path().join("log"));
    let accesses: Vec<String> = records
        .iter()
        .filter(|record| record["kind"] == "intent")
        .map(|record| record["accesses"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        accesses,
        [
            "listen 127.0.0.1:*".to_owned(),
            format!("connect here.test:{port}"),
            format!("connect here.test:{port} at 127.0.0.1")
        ],
        "the address that was connected to is on record"
    );
    assert_eq!(world.told().iter().filter(|(_, outcome)| outcome == "done").count(), 3);
}

#[tokio::test]
async fn e1_an_address_written_strangely_is_nowhere() {
    let far = Far::new();
    let world = World::new("[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true\nprivate = true", &[]);
    for host in ["0x7f.1", "0x7f000001", "0177.0.0.1", "2130706433", "127.1", "0", "127.0.0.1.", "127.0.0.01"]
    {
        let error = world.connect(format!("{host}:{}", far.port())).await.unwrap_err();
        assert!(matches!(error, NetError::End { source: EndError::Host(_), .. }), "{host}: {error:?}");
    }
    assert_eq!((far.count(), world.asked()), (0, 0));
    let told = world.told();
    assert_eq!(told.len(), 8, "each attempt is one record");
    assert!(told.iter().all(|(kind, why)| kind == "denial" && why.contains("address")), "{told:?}");
    world.connect(format!("127.0.0.1:{}", far.port())).await.unwrap();
    assert_eq!(far.count(), 1);
}

#[tokio::test]
async fn e2_ipv4_within_ipv6_and_addresses_of_nobody_reach_nothing_that_is_denied() {
    let far = Far::new();
    let port = far.port();
    let world = World::new(
        "[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true\nprivate = true\n[[subject.deny]]\nconnect = [\"127.0.0.0/8:*\", \"[::1]:*\"]",
        &[],
    );
    let mut seen = 0;
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1]"] {
        is_denied(world.connect(format!("{host}:{port}")).await);
        assert!(world.one_denial(&mut seen).starts_with("deny connect"), "{host}");
    }
    // The system takes these for this machine, which no rule about 127.0.0.0/8 says.
    for host in
        ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "0.1.2.3", "224.0.0.1", "255.255.255.255", "[ff02::1]"]
    {
        let error = world.connect(format!("{host}:{port}")).await.unwrap_err();
        assert!(matches!(error, NetError::Nowhere { .. }), "{host}: {error:?}");
    }
    for host in ["[fe80::1%eth0]", "[fe80::1%1]"] {
        let error = world.connect(format!("{host}:{port}")).await.unwrap_err();
        assert!(matches!(error, NetError::End { source: EndError::Host(HostError::Zone), .. }), "{error:?}");
    }
    for end in [format!("::1:{port}"), "127.0.0.1".to_owned(), "127.0.0.1:0".to_owned(), "[::1]".to_owned()] {
        assert!(matches!(world.connect(&end).await, Err(NetError::End { .. })), "{end}");
    }
    assert_eq!((far.count(), world.asked()), (0, 0));
}

#[tokio::test]
async fn e3_a_name_that_leads_to_a_translator_leads_to_what_that_carries_inside() {
    let world = World::new(
        "[[subject.allow]]\nconnect = [\"*.test:*\"]\n[[subject.allow]]\nconnect = [\"own.lan:*\"]\nprivate = true\n[[subject.deny]]\nconnect = [\"127.0.0.0/8:*\"]",
        &[
            ("nat64.test", &["64:ff9b::a00:1"]),
            ("six.test", &["2002:a00:1::"]),
            ("mapped.test", &["::ffff:10.0.0.1"]),
            ("compatible.test", &["::10.0.0.1"]),
            ("teredo.test", &["2001::1"]),
            (
                "own.lan",
                &["64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:127.0.0.1", "2001::1", "0.0.0.0", "::"],
            ),
        ],
    );
    let mut seen = 0;
    for name in ["nat64", "six", "mapped", "compatible", "teredo"] {
        is_denied(world.connect(format!("{name}.test:80")).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{name}");
    }
    is_denied(world.connect("own.lan:80").await);
    assert!(world.one_denial(&mut seen).starts_with("deny connect 127.0.0.0/8:*"));
}

#[tokio::test]
async fn e4_no_name_leads_to_a_metadata_service() {
    let world = World::new(
        "[[subject.allow]]\nconnect = [\"*:80\"]\nbroad = true",
        &[("metadata.google.internal", &["169.254.169.254"]), ("aws.example", &["fd00:ec2::254"])],
    );
    let mut seen = 0;
    for end in ["metadata.google.internal:80", "aws.example:80", "169.254.169.254:80", "[fd00:ec2::254]:80"] {
        is_denied(world.connect(end).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{end}");
    }
    assert_eq!(world.asked(), 2, "addresses are not looked up");
}

#[tokio::test]
async fn e5_what_a_name_was_looked_up_as_is_what_is_connected_to() {
    let (one, two, port) = two();
    let script: Mutex<VecDeque<&str>> = Mutex::new(["127.0.0.2", "127.0.0.1", "127.0.0.1"].into());
    let world = World::asking(
        &format!(
            "[[subject.allow]]\nconnect = [\"turns.test:{port}\"]\nprivate = true\n[[subject.deny]]\nconnect = [\"127.0.0.1:*\"]"
        ),
        move |_| Ok(vec![script.lock().unwrap().pop_front().expect("asked no oftener").parse().unwrap()]),
    );
    let connection = world.connect(format!("turns.test:{port}")).await.unwrap();
    assert_eq!(connection.peer().unwrap().ip(), IpAddr::from([127, 0, 0, 2]));
    assert_eq!((world.asked(), one.count(), two.count()), (1, 0, 1), "asked once, connected there");
    let mut seen = world.told().len();
    is_denied(world.connect(format!("turns.test:{port}")).await);
    assert!(world.one_denial(&mut seen).starts_with("deny connect 127.0.0.1:*"));
    assert_eq!((world.asked(), one.count(), two.count()), (2, 0, 0));
}

#[tokio::test]
async fn e6_addresses_of_an_answer_that_may_not_be_reached_are_left_out() {
    let (one, two, port) = two();
    let world = World::new(
        &format!(
            "[[subject.allow]]\nconnect = [\"both.test:{port}\"]\nprivate = true\n[[subject.allow]]\nconnect = [\"public.test:{port}\", \"*.nip.test:{port}\"]\n[[subject.allow]]\nconnect = [\"127.0.0.2:{port}\"]\n[[subject.deny]]\nconnect = [\"127.0.0.1:*\"]"
        ),
        &[
            ("both.test", &["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2", "127.0.0.1"]),
            ("public.test", &["127.0.0.2", "10.0.0.1"]),
            ("127.0.0.2.nip.test", &["127.0.0.2"]),
            ("nothing.test", &[]),
        ],
    );
    world.connect(format!("both.test:{port}")).await.unwrap();
    assert_eq!((one.count(), two.count()), (0, 1));
    // The address may be connected to, and not by whoever owns the name.
    let mut seen = world.told().len();
    for name in ["public.test", "127.0.0.2.nip.test"] {
        is_denied(world.connect(format!("{name}:{port}")).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{name}");
    }
    world.connect(format!("127.0.0.2:{port}")).await.unwrap();
    assert_eq!((one.count(), two.count()), (0, 1));
}

#[tokio::test]
async fn addresses_are_tried_in_order_and_only_so_many_of_them() {
    let (one, two, port) = two();
    let rule = format!("[[subject.allow]]\nconnect = [\"many.test:{port}\"]\nprivate = true");
    let names: &[(&str, &[&str])] = &[("many.test", &["127.0.0.3", "127.0.0.2", "127.0.0.1"])];
    let world = World::new(&rule, names);
    let connection = world.connect(format!("many.test:{port}")).await.unwrap();
    assert_eq!(connection.peer().unwrap().ip(), IpAddr::from([127, 0, 0, 2]), "nobody is at the first");
    let limited = |addresses_max| {
        world.network.clone().with_limits(NetLimits { addresses_max, ..NetLimits::default() })
    };
    limited(2).connect(&world.tool, &format!("many.test:{port}")).await.unwrap();
    let error = limited(1).connect(&world.tool, &format!("many.test:{port}")).await.unwrap_err();
    assert!(matches!(error, NetError::Io { action: "connect to", .. }), "{error:?}");
    assert_eq!((one.count(), two.count()), (0, 2));
    assert_eq!(world.told().last().unwrap(), &("outcome".to_owned(), "failed".to_owned()));
}

#[tokio::test]
async fn e11_case_and_a_last_dot_mean_nothing_and_a_port_is_one() {
    let far = Far::new();
    let port = far.port();
    let world = World::new(
        &format!("[[subject.allow]]\nconnect = [\"api.test:{port}\"]\nprivate = true"),
        &[("api.test", &["127.0.0.1"])],
    );
    for name in ["api.test", "API.Test", "api.test."] {
        world.connect(format!("{name}:{port}")).await.unwrap();
    }
    assert_eq!(far.count(), 3);
    for end in
        ["api.test", "api.test:", "api.test:0", "api.test:65536", "api.test:+80", "api.test:080", ":80"]
    {
        assert!(matches!(world.connect(end).await, Err(NetError::End { .. })), "{end}");
    }
    let asked = world.asked();
    for end in [format!("api.test:{}", port ^ 1), format!("xapi.test:{port}"), format!("api.test.x:{port}")] {
        is_denied(world.connect(&end).await);
    }
    assert_eq!((far.count(), world.asked()), (0, asked));
}

#[tokio::test]
async fn e12_an_address_needs_no_resolver_and_is_decided_all_the_same() {
    let (one, two, port) = two();
    let world = World::asking(&format!("[[subject.allow]]\nconnect = [\"127.0.0.2:{port}\"]"), |_| {
        panic!("an address is not looked up")
    });
    let mut seen = 0;
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
        is_denied(world.connect(format!("{host}:{port}")).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    }
    world.connect(format!("[::ffff:7f00:2]:{port}")).await.unwrap();
    assert_eq!((one.count(), two.count(), world.asked()), (0, 1, 0));
}

#[tokio::test]
async fn e13_every_datagram_is_decided_about_and_groups_are_nobody() {
    let receiver = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        (socket.local_addr().unwrap(), socket)
    };
    let ((granted, here), (other, there)) = (receiver(), receiver());
    let world = World::new(
        &format!(
            "[[subject.allow]]\nbind = [\"127.0.0.1:*\"]\n[[subject.allow]]\nsend = [\"{granted}\"]\n[[subject.allow]]\nsend = [\"udp.test:{}\"]\nprivate = true",
            granted.port()
        ),
        &[("udp.test", &["::1", "127.0.0.1"])],
    );
    let socket = world.network.bind(&world.tool, "127.0.0.1:0").await.unwrap();
    let mut bytes = [0; 16];
    for end in [granted.to_string(), format!("udp.test:{}", granted.port())] {
        socket.send(&end, b"once").await.unwrap();
        assert_eq!(here.recv(&mut bytes).unwrap(), 4);
        // What was allowed once is no leave to send elsewhere.
        let mut seen = world.told().len();
        is_denied(socket.send(&other.to_string(), b"stray").await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    }
    here.send_to(b"reply", socket.address()).unwrap();
    assert_eq!(socket.receive().await.unwrap(), (b"reply".to_vec(), granted));
    there.set_nonblocking(true).unwrap();
    assert_eq!(there.recv(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    // Revoked between two datagrams.
    world.gate.replace_policy(Policy::parse(&policy(""), "p.toml").unwrap());
    is_denied(socket.send(&granted.to_string(), b"late").await);
    let broad = policy("[[subject.allow]]\nsend = [\"*:*\"]\nbroad = true\nprivate = true");
    world.gate.replace_policy(Policy::parse(&broad, "p.toml").unwrap());
    for host in ["224.0.0.251", "239.1.1.1", "255.255.255.255", "0.0.0.0", "[ff02::fb]", "[::]"] {
        let error = socket.send(&format!("{host}:{}", granted.port()), b"all").await.unwrap_err();
        assert!(matches!(error, NetError::Nowhere { .. }), "{host}: {error:?}");
    }
    // The broadcast of a network looks like any address, and the system refuses it to who has not asked for it.
    assert!(socket.send(&format!("127.255.255.255:{}", granted.port()), b"all").await.is_err());
    here.set_nonblocking(true).unwrap();
    assert_eq!(here.recv(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_datagram_is_as_large_as_may_be_and_no_larger() {
    let world = World::new(
        "[[subject.allow]]\nbind = [\"127.0.0.1:*\"]\n[[subject.allow]]\nsend = [\"127.0.0.1:*\"]",
        &[],
    );
    let network =
        world.network.clone().with_limits(NetLimits { datagram_bytes_max: 8, ..NetLimits::default() });
    let socket = network.bind(&world.tool, "127.0.0.1:0").await.unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let end = far.local_addr().unwrap().to_string();
    socket.send(&end, &[1; 8]).await.unwrap();
    let error = socket.send(&end, &[1; 9]).await.unwrap_err();
    assert!(matches!(error, NetError::TooLarge { len: 9, max: 8 }), "{error:?}");
    far.send_to(&[2; 9], socket.address()).unwrap();
    far.send_to(&[3; 8], socket.address()).unwrap();
    assert!(matches!(socket.receive().await, Err(NetError::TooLarge { max: 8, .. })));
    assert_eq!(socket.receive().await.unwrap().0, [3; 8]);
}

#[tokio::test]
async fn e14_who_listens_needs_leave_for_that_very_address_and_port() {
    // Of an address that no other test has, so that the port is still free.
    let free = Far::at("127.0.14.1:0").port();
    let world = World::new(
        &format!(
            "[[subject.allow]]\nlisten = [\"127.0.14.1:{free}\"]\n[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true\nprivate = true\n[[subject.allow]]\nlisten = [\"127.0.14.2:*\"]\n[[subject.allow]]\nbind = [\"127.0.14.1:1-65534\"]"
        ),
        &[],
    );
    let (network, tool) = (&world.network, &world.tool);
    let mut seen = 0;
    for end in [
        format!("0.0.0.0:{free}"),
        format!("[::]:{free}"),
        format!("[::ffff:0.0.0.0]:{free}"),
        format!("127.0.14.3:{free}"),
        format!("127.0.14.1:{}", free ^ 1),
        "127.0.14.1:0".to_owned(),
    ] {
        is_denied(network.listen(tool, &end).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{end}");
    }
    for end in [format!("0.0.0.0:{free}"), "127.0.14.1:0".to_owned(), format!("127.0.14.2:{free}")] {
        is_denied(network.bind(tool, &end).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{end}");
    }
    let error = network.listen(tool, &format!("localhost:{free}")).await.unwrap_err();
    assert!(matches!(error, NetError::End { source: EndError::Named, .. }), "{error:?}");
    // All ports of an address are leave for any of them.
    let any = network.listen(tool, "127.0.14.2:0").await.unwrap();
    assert_eq!(any.address().unwrap().ip(), IpAddr::from([127, 0, 14, 2]));
    // Nobody else gets a share of what comes.
    let listener = network.listen(tool, &format!("127.0.14.1:{free}")).await.unwrap();
    let address = listener.address().unwrap();
    assert!(matches!(network.listen(tool, &address.to_string()).await, Err(NetError::Io { .. })));
    let rival = tokio::net::TcpSocket::new_v4().unwrap();
    rival.set_reuseport(true).unwrap();
    assert!(rival.bind(address).and_then(|()| rival.listen(1)).is_err(), "no port is shared");
    let wide = tokio::net::TcpSocket::new_v4().unwrap();
    wide.set_reuseaddr(true).unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], free));
    assert!(wide.bind(everywhere).and_then(|()| wide.listen(1)).is_err(), "nor by a wider address");
}

#[tokio::test]
async fn e14_an_address_of_ipv6_takes_no_ipv4() {
    let world =
        World::new("[[subject.allow]]\nlisten = [\"[::]:*\"]\n[[subject.allow]]\nbind = [\"[::]:*\"]", &[]);
    let socket = world.network.bind(&world.tool, "[::]:0").await.unwrap();
    let four = UdpSocket::bind("127.0.14.3:0").unwrap();
    // Nothing of IPv4 is bound to that port, which the system says at the next datagram.
    four.connect(("127.0.14.3", socket.address().port())).unwrap();
    assert!((0..100).any(|_| four.send(b"four").is_err()));
    let listener = world.network.listen(&world.tool, "[::]:0").await.unwrap();
    let port = listener.address().unwrap().port();
    std::net::TcpStream::connect(("127.0.14.3", port)).unwrap_err();
    std::net::TcpStream::connect(("::1", port)).unwrap();
}

#[tokio::test]
async fn e15_nothing_is_looked_up_for_who_may_not_connect_there() {
    let far = Far::new();
    let port = far.port();
    let world = World::new(
        &format!(
            "[[subject.allow]]\nconnect = [\"x.test:{port}\", \"unlooked.test:{port}\"]\nprivate = true\n[[subject.allow]]\nresolve = [\"looked.test\"]\n[[subject.deny]]\nresolve = [\"unlooked.test\"]"
        ),
        &[("x.test", &["127.0.0.1"]), ("looked.test", &["127.0.0.1", "10.0.0.1"])],
    );
    let mut seen = 0;
    for end in [
        format!("secret-data.evil.test:{port}"),
        format!("secret-data.x.test:{port}"),
        format!("looked.test:{port}"),
        "x.test:1".to_owned(),
    ] {
        is_denied(world.connect(&end).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{end}");
    }
    // To connect to a name takes looking it up; to be told its addresses is something else.
    for name in ["x.test", "secret-data.evil.test"] {
        is_denied(world.network.resolve(&world.tool, name).await);
        assert_eq!(world.one_denial(&mut seen), "no rule allows it", "{name}");
    }
    is_denied(world.connect(format!("unlooked.test:{port}")).await);
    assert!(world.one_denial(&mut seen).starts_with("deny resolve unlooked.test"));
    assert_eq!((world.asked(), far.count()), (0, 0));

    let found = world.network.resolve(&world.tool, "looked.test").await.unwrap();
    assert_eq!(found, [IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1])]);
    world.connect(format!("x.test:{port}")).await.unwrap();
    assert_eq!((world.asked(), far.count()), (2, 1));
}

#[tokio::test]
async fn a13_whether_a_host_exists_is_not_seen_in_a_denial() {
    let world = World::new("", &[("there.test", &["127.0.0.1"])]);
    let mut said = Vec::new();
    for name in ["there.test", "gone.test"] {
        let error = world.connect(format!("{name}:80")).await.unwrap_err();
        said.push(error.to_string().replace(name, "_"));
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn e16_a_rule_for_one_version_of_the_protocol_reaches_nothing_by_the_other() {
    let (four, six) = (Far::new(), Far::at("[::1]:0"));
    let world = World::new(
        &format!(
            "[[subject.allow]]\nconnect = [\"127.0.0.1:{}\", \"127.0.0.0/8:{}\"]\n[[subject.allow]]\nconnect = [\"dual.test:*\"]\nprivate = true\n[[subject.deny]]\nconnect = [\"[::1]:*\"]",
            four.port(),
            six.port()
        ),
        &[("dual.test", &["::1", "127.0.0.1"])],
    );
    let mut seen = 0;
    for port in [four.port(), six.port()] {
        is_denied(world.connect(format!("[::1]:{port}")).await);
        assert!(world.one_denial(&mut seen).starts_with("deny connect [::1]:*"));
    }
    let connection = world.connect(format!("dual.test:{}", four.port())).await.unwrap();
    assert!(connection.peer().unwrap().is_ipv4());
    assert!(world.connect(format!("dual.test:{}", six.port())).await.is_err(), "nobody is there by IPv4");
    assert_eq!((four.count(), six.count()), (1, 0));
}

#[tokio::test]
async fn e17_what_is_open_stays_open_and_what_comes_next_is_decided_anew() {
    let far = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let end = far.local_addr().unwrap();
    let world = World::new(&format!("[[subject.allow]]\nconnect = [\"{end}\"]"), &[]);
    let mut connection = world.connect(end).await.unwrap();
    let (mut served, _) = far.accept().await.unwrap();
    world.gate.replace_policy(Policy::parse(&policy(""), "p.toml").unwrap());
    connection.write_all(b"still").await.unwrap();
    let mut bytes = [0; 5];
    served.read_exact(&mut bytes).await.unwrap();
    let mut seen = 0;
    is_denied(world.connect(end).await);
    assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    let more = tokio::time::timeout(Duration::from_millis(100), far.accept()).await;
    assert!(more.is_err(), "nobody came a second time");
}

#[tokio::test]
async fn e18_whatever_is_no_host_and_port_is_nothing_to_connect_to() {
    let world = World::new("[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true\nprivate = true", &[]);
    for end in [
        "unix:/run/docker.sock",
        "unix:///run/docker.sock:80",
        "/run/docker.sock",
        "@abstract:1",
        "vsock:2:1024",
        "vsock://2:1024",
        "ws://a.test:80",
        "tcp://a.test:80",
        "a.test:80/path",
        "user@a.test:80",
        "a.test:http",
        "a.test:80 at 127.0.0.1",
        "a.test at 127.0.0.1:80",
        "a.test\0.b.test:80",
        "*:80",
        "*.test:80",
        "127.0.0.0/8:80",
        "",
    ] {
        let error = world.connect(end).await.unwrap_err();
        assert!(matches!(error, NetError::End { .. }), "{end}: {error:?}");
    }
    assert_eq!((world.asked(), world.told().len()), (0, 18));
    assert!(world.told().iter().all(|(kind, _)| kind == "denial"));
}

#[tokio::test]
async fn what_names_no_end_is_one_record_whoever_asks_and_shows_no_password() {
    let world = World::new("[[subject.allow]]\nbind = [\"127.0.0.1:*\"]", &[]);
    let (network, tool) = (&world.network, &world.tool);
    let datagrams = network.bind(tool, "127.0.0.1:0").await.unwrap();
    let before = world.told().len();
    let bad = "user:hunter2@127.1:80";
    network.connect(tool, bad).await.unwrap_err();
    network.listen(tool, bad).await.unwrap_err();
    network.bind(tool, bad).await.unwrap_err();
    datagrams.send(bad, b"x").await.unwrap_err();
    network.resolve(tool, bad).await.unwrap_err();
    #[cfg(feature = "tls")]
    network.connect_tls(tool, bad).await.unwrap_err();
    network.connect_unix(tool, "d:../sock").await.unwrap_err();
    network.listen_unix(tool, "d:../sock").await.unwrap_err();
    let records = records(&world.folder.path().join("log")).split_off(before);
    assert_eq!(records.len(), if cfg!(feature = "tls") { 8 } else { 7 });
    for record in records {
        assert_eq!(record["kind"], "denial");
        let denied = record["denied"].as_str().unwrap();
        assert!(denied.contains("…@127.1:80") || denied.contains("d:../sock"), "{record}");
        assert!(!record.to_string().contains("hunter2"), "{record}");
    }
}

#[tokio::test]
async fn no_time_is_so_long_that_it_cannot_be_waited_for() {
    let far = Far::new();
    let end = format!("127.0.0.1:{}", far.port());
    let world = World::new(&format!("[[subject.allow]]\nconnect = [\"{end}\"]"), &[]);
    let limits =
        NetLimits { connect_timeout: Duration::MAX, lookup_timeout: Duration::MAX, ..NetLimits::default() };
    world.network.clone().with_limits(limits).connect(&world.tool, &end).await.unwrap();
}

#[tokio::test]
async fn g18_a_datagram_counts_with_its_bytes() {
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    let end = to.local_addr().unwrap().to_string();
    let rules = format!("[[subject.allow]]\nsend = [\"{end}\"]\n[[subject.allow]]\nbind = [\"127.0.0.1:*\"]");
    let world = World::new(&rules, &[]);
    let quota = Quota::new(QuotaOptions { bytes_max: 10, ..QuotaOptions::default() });
    let network = Network::new(world.gate.with_layers([Layer::Quota(quota.clone())]));
    let socket = network.bind(&world.tool, "127.0.0.1:0").await.unwrap();
    is_denied(socket.send(&end, &[0; 11]).await);
    socket.send(&end, &[0; 10]).await.unwrap();
    is_denied(socket.send(&end, &[0; 1]).await);
    assert_eq!(quota.usage(&world.tool).bytes, 10);
}

#[tokio::test]
async fn g7_listeners_are_bounded_like_all_that_is_open() {
    let world =
        World::new("[[subject.allow]]\nlisten = [\"127.0.0.1:*\"]\n[[subject.allow]]\nunix = [\"d:*\"]", &[]);
    let root = Root::open(world.folder.path()).unwrap();
    let limits = NetLimits { open_max: 1, ..NetLimits::default() };
    let network = world.network.clone().with_limits(limits).with_roots([(Name::parse("d").unwrap(), root)]);
    let one = network.listen(&world.tool, "127.0.0.1:0").await.unwrap();
    let outcome = network.listen(&world.tool, "127.0.0.1:0").await;
    assert!(matches!(outcome, Err(NetError::Full { open_max: 1 })), "{outcome:?}");
    assert!(matches!(network.listen_unix(&world.tool, "d:sock").await, Err(NetError::Full { .. })));
    assert!(!world.folder.path().join("sock").exists());
    drop(one);
    network.listen_unix(&world.tool, "d:sock").await.unwrap();
}

#[tokio::test]
async fn no_more_is_open_than_may_be() {
    let far = Far::new();
    let end = format!("127.0.0.1:{}", far.port());
    let world = World::new(
        &format!(
            "[[subject.allow]]\nconnect = [\"{end}\"]\n[[subject.allow]]\nbind = [\"127.0.0.1:*\"]\n[[subject.allow]]\nlisten = [\"127.0.0.1:*\"]"
        ),
        &[],
    );
    let limits = NetLimits { open_max: 2, accepted_max: 1, ..NetLimits::default() };
    let network = world.network.clone().with_limits(limits);
    let first = network.connect(&world.tool, &end).await.unwrap();
    let second = network.clone().bind(&world.tool, "127.0.0.1:0").await.unwrap();
    let error = network.connect(&world.tool, &end).await.unwrap_err();
    assert!(matches!(error, NetError::Full { open_max: 2 }), "{error:?}");
    assert!(matches!(network.bind(&world.tool, "127.0.0.1:0").await, Err(NetError::Full { .. })));
    assert_eq!(far.count(), 1);
    drop(second);
    network.connect(&world.tool, &end).await.unwrap();
    drop(first);

    let listener = network.listen(&world.tool, "127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let mut clients: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let first = listener.accept().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(second.is_err(), "one may be open");
    drop(first);
    tokio::time::timeout(LONG, listener.accept()).await.unwrap().unwrap();
    clients.clear();
}

#[tokio::test]
async fn a_name_that_is_looked_up_for_too_long_is_a_timeout_and_takes_no_thread_more() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let world = World::asking("[[subject.allow]]\nconnect = [\"*.test:80\"]", move |_| {
        // Ends when the test lets go of the other end.
        let told = wait.lock().unwrap().recv();
        Err(io::Error::other(told.unwrap_err()))
    });
    let limits =
        NetLimits { lookups_max: 1, lookup_timeout: Duration::from_millis(50), ..NetLimits::default() };
    let network = world.network.clone().with_limits(limits);
    for name in ["slow.test:80", "next.test:80"] {
        let error = network.connect(&world.tool, name).await.unwrap_err();
        assert!(matches!(error, NetError::TimedOut { action: "look up", .. }), "{error:?}");
    }
    // Both gave up; the one thread may only now begin.
    while world.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.asked(), 1, "the second one waited for the thread of the first");
    assert_eq!(world.told().iter().filter(|(_, outcome)| outcome == "failed").count(), 2);
    drop(release);
}

#[tokio::test]
async fn who_gives_up_half_way_leaves_on_record_that_nobody_knows_what_came_of_it() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let world = World::asking("[[subject.allow]]\nconnect = [\"*.test:80\"]", move |_| {
        let told = wait.lock().unwrap().recv();
        Err(io::Error::other(told.unwrap_err()))
    });
    let is_asked = async {
        while world.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        connected = world.connect("slow.test:80") => panic!("{connected:?}"),
        () = is_asked => {}
    }
    assert_eq!(world.told().last().unwrap(), &("outcome".to_owned(), "unknown".to_owned()));
    drop(release);
}

#[tokio::test]
async fn a_name_without_an_address_is_an_error_of_its_own() {
    let rules = "[[subject.allow]]\nconnect = [\"*.test:80\"]";
    let world = World::new(rules, &[("empty.test", &[])]);
    assert!(matches!(world.connect("empty.test:80").await, Err(NetError::NoAddress { .. })));
    assert!(matches!(world.connect("gone.test:80").await, Err(NetError::LookUp { .. })));
    let fixed = Resolver::fixed([(HostName::parse("known.test").unwrap(), vec![])]);
    let network = world.network.clone().with_resolver(fixed);
    assert!(matches!(network.connect(&world.tool, "known.test:80").await, Err(NetError::NoAddress { .. })));
    assert!(matches!(network.connect(&world.tool, "gone.test:80").await, Err(NetError::LookUp { .. })));
}

#[tokio::test]
async fn the_system_looks_names_up_too() {
    let far = Far::new();
    let end = format!("localhost:{}", far.port());
    let world = World::new(&format!("[[subject.allow]]\nconnect = [\"{end}\"]\nprivate = true"), &[]);
    let network = world.network.clone().with_resolver(Resolver::system());
    network.connect(&world.tool, &end).await.unwrap();
    assert_eq!((far.count(), world.asked()), (1, 0));
}
