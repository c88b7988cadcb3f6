//! What can be asked for, in one spelling: what is read, what is refused, and that nothing has two readings.

use std::net::IpAddr;

use airssys_osl::{
    Access, AccessError, AddressKind, FilePath, Host, HostError, Name, NameError, PathError, RelPath, Subject,
};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

fn path(text: &str) -> Result<String, PathError> {
    RelPath::parse(text).map(|path| path.as_str().to_owned())
}

#[test]
fn a1_a_path_that_goes_up_is_refused_wherever_it_would_come_out() {
    for text in ["..", "../etc/passwd", "x/../../etc/passwd", "x/../y", "x/..", "./../x", "x//../y"] {
        assert_eq!(path(text), Err(PathError::Parent), "{text}");
    }
    for text in ["...", "..x", "x..", "x/..y/z", ". ."] {
        assert_eq!(path(text), Ok(text.to_owned()), "dots within a name are a name");
    }
}

#[test]
fn a2_an_absolute_path_is_refused_and_doubled_slashes_mean_nothing() {
    for text in ["/", "/etc/passwd", "//etc/passwd", "///"] {
        assert_eq!(path(text), Err(PathError::Absolute), "{text}");
    }
    for text in ["a//b", "a/./b", "./a/b", "a/b/", "a/b/.", "a///b//./"] {
        assert_eq!(path(text), Ok("a/b".to_owned()), "{text}");
    }
}

#[test]
fn a4_nul_length_and_emptiness_are_bounded() {
    assert_eq!(path(""), Err(PathError::Empty));
    assert_eq!(path("a\0b"), Err(PathError::Nul));
    assert_eq!(path("."), Ok(String::new()), "the folder itself");
    assert_eq!(path("./"), Ok(String::new()));
    assert!(path(&"a".repeat(255)).is_ok());
    assert_eq!(path(&"a".repeat(256)), Err(PathError::TooLong));
    assert!(path(&vec!["a"; 256].join("/")).is_ok());
    assert_eq!(path(&vec!["a"; 257].join("/")), Err(PathError::TooLong));
    assert_eq!(path(&"a/".repeat(4096)), Err(PathError::TooLong));
    let longest = vec!["a".repeat(15); 256].join("/");
    assert_eq!(longest.len(), 4095);
    assert!(path(&longest).is_ok());
    assert_eq!(path(&format!("{longest}b")), Err(PathError::TooLong));
}

#[test]
fn d3_a_path_that_is_not_utf8_is_refused_and_not_repaired() {
    use std::os::unix::ffi::OsStrExt as _;
    for bytes in [&b"a\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80"] {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(bytes));
        assert_eq!(RelPath::from_path(path), Err(PathError::NotUtf8));
    }
}

#[test]
fn a18_a_name_cannot_be_used_as_a_path_that_leads_elsewhere() {
    for text in ["../../x", "a/../b", "..", ".", "/a", "a/", "a//b", "a/./b"] {
        assert_eq!(Name::parse(text), Err(NameError::Part), "{text}");
    }
    for (text, found) in
        [("a b", ' '), ("a\nb", '\n'), ("a*", '*'), ("ünde", 'ü'), ("a\0", '\0'), ("a:b", ':')]
    {
        assert_eq!(Name::parse(text), Err(NameError::Character { found }), "{text}");
    }
    assert_eq!(Name::parse(""), Err(NameError::Empty));
    assert!(Name::parse(&"n".repeat(256)).is_ok());
    assert_eq!(Name::parse(&"n".repeat(257)), Err(NameError::TooLong));
    for text in ["a", "A.b_c-d/e@f#0", "..a", "shop/parse#12"] {
        assert_eq!(Name::parse(text).unwrap().as_str(), text);
    }
}

fn host(text: &str) -> Result<String, HostError> {
    Host::parse(text).map(|host| host.to_string())
}

#[test]
fn e1_an_address_written_strangely_is_no_host() {
    for text in [
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "2130706433",
        "127.1",
        "0",
        "1.2.3",
        "1.2.3.4.5",
        "a.0x",
        "a.1",
    ] {
        assert_eq!(host(text), Err(HostError::StrangeNumber), "{text}");
    }
    // Leading zeros are octal to some.
    for text in ["0177.0.0.1", "127.0.0.01", "256.0.0.1", "1.2.3.4."] {
        assert!(host(text).is_err(), "{text}");
    }
    assert_eq!(host("127.0.0.1"), Ok("127.0.0.1".to_owned()));
    assert_eq!(host("3com.com"), Ok("3com.com".to_owned()), "digits are for names too");
    assert_eq!(host("1.0xcafe.example"), Ok("1.0xcafe.example".to_owned()));
}

#[test]
fn e2_ipv4_within_ipv6_is_ipv4_and_zones_are_refused() {
    for text in ["::ffff:127.0.0.1", "::ffff:7f00:1", "[::ffff:7f00:1]"] {
        assert_eq!(host(text), Ok("127.0.0.1".to_owned()), "{text}");
    }
    assert_eq!(host("[::1]"), Ok("[::1]".to_owned()));
    assert_eq!(host("FE80::1"), Ok("[fe80::1]".to_owned()));
    for text in ["fe80::1%eth0", "[fe80::1%1]"] {
        assert_eq!(host(text), Err(HostError::Zone), "{text}");
    }
    assert!(host("[127.0.0.1]").is_err() && host("[::1").is_err() && host("::1]").is_err());
}

fn kind(text: &str) -> AddressKind {
    AddressKind::of(text.parse::<IpAddr>().unwrap())
}

#[test]
fn e3_what_a_translator_carries_inside_is_what_it_leads_to() {
    for text in ["64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "::ffff:127.0.0.1"] {
        assert_eq!(kind(text), AddressKind::Loopback, "{text}");
    }
    for text in ["64:ff9b::a00:1", "2002:c0a8:1::", "64:ff9b:1::7f00:1"] {
        assert_eq!(kind(text), AddressKind::Private, "{text}");
    }
    assert_eq!(kind("2001::1"), AddressKind::Special, "Teredo");
    assert_eq!(kind("64:ff9b::101:101"), AddressKind::Public);
}

#[test]
fn e4_metadata_services_and_own_networks_are_not_public() {
    let private = [
        "169.254.169.254",
        "fd00:ec2::254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fe80::1",
    ];
    private.into_iter().for_each(|text| assert_eq!(kind(text), AddressKind::Private, "{text}"));
    let public = [
        "9.255.255.255",
        "11.0.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "100.63.0.1",
        "100.128.0.1",
        "2606:4700::1",
        "1.1.1.1",
    ];
    public.into_iter().for_each(|text| assert_eq!(kind(text), AddressKind::Public, "{text}"));
    let special = [
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "203.0.113.7",
        "::",
        "ff02::1",
        "2001:db8::1",
    ];
    special.into_iter().for_each(|text| assert_eq!(kind(text), AddressKind::Special, "{text}"));
    assert_eq!(kind("127.255.255.255"), AddressKind::Loopback);
    assert_eq!(kind("::1"), AddressKind::Loopback);
}

#[test]
fn e11_case_and_a_last_dot_mean_nothing_and_port_zero_is_none() {
    assert_eq!(host("API.Example.COM."), Ok("api.example.com".to_owned()));
    for text in [
        "example..com",
        ".example.com",
        "example.com..",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a b",
        "a/b",
        "a@b",
        "a\0b",
    ] {
        assert_eq!(host(text), Err(HostError::Label), "{text:?}");
    }
    assert_eq!(host(""), Err(HostError::Empty));
    assert_eq!(host(&"a".repeat(64)), Err(HostError::TooLong));
    assert!(host(&format!("{}.example", "a".repeat(63))).is_ok());
    for text in [
        "connect example.com:0",
        "connect example.com:",
        "connect example.com:65536",
        "connect example.com",
        "connect example.com:+80",
    ] {
        assert!(Access::parse(text).is_err(), "{text}");
    }
}

#[test]
fn d5_nothing_that_is_shown_turns_or_hides_text() {
    for hidden in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{1b}', '\u{85}', '\u{2028}'] {
        let name = format!("a{hidden}b");
        assert!(Subject::parse(&name).is_err() && Name::parse(&name).is_err(), "{hidden:?} in a name");
        assert!(Host::parse(&format!("a{hidden}b.example")).is_err(), "{hidden:?} in a host");
        for access in [format!("read d:{name}"), format!("run /bin/{name} {name}")] {
            let shown = Access::parse(&access).unwrap().to_string();
            assert!(!shown.contains(hidden) && shown.contains("\\u{"), "{shown}");
        }
    }
}

#[test]
fn d7_other_scripts_are_written_as_what_they_are_looked_up_as() {
    for text in ["bücher.example", "example。com", "①②⑦.example", "exаmple.com"] {
        assert_eq!(host(text), Err(HostError::Label), "{text}");
    }
    assert!(host("xn--bcher-kva.example").is_ok());
}

#[test]
fn an_access_reads_as_it_is_shown() {
    for text in [
        "read data:a/b c",
        "list data:.",
        "connect api.example.com:443",
        "connect [::1]:80",
        "resolve example.com",
        "run /usr/bin/git \"status\" \"--short\"",
        "run /bin/echo \"two words\" \"a \\\"quote\\\"\" \"\"",
        "env LANG",
        "secret db/password",
        "host clock",
        "own storage.read org/a",
    ] {
        let access = Access::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(access.to_string(), text);
    }
    for text in ["", "read", "fly data:a", "run git", "run", "host moon", "own a", "run /bin/x \"a"] {
        assert!(matches!(Access::parse(text), Err(AccessError::Verb | AccessError::Shape)), "{text}");
    }
    assert!(matches!(Access::parse("read a"), Err(AccessError::Path(PathError::NoRoot))));
}

#[test]
fn m1_an_access_is_shown_on_one_line_whatever_it_names() {
    let hostile = "a\nb\r\u{1b}[2J\u{202e}c\u{200b}";
    let file = Access::parse(&format!("read data:{hostile}")).unwrap();
    let run = Access::parse(&format!("run /bin/x \"{hostile}\"")).unwrap();
    for shown in [file.to_string(), run.to_string()] {
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains('\u{202e}') && !shown.contains('\u{200b}'), "{shown:?}");
    }
}

proptest! {
    #[test]
    fn to_normalise_twice_is_to_normalise_once(text in "[a-c./\\\\ *]{0,24}") {
        if let Ok(path) = RelPath::parse(&text) {
            let again = RelPath::parse(if path.is_root() { "." } else { path.as_str() });
            prop_assert_eq!(again, Ok(path.clone()));
            prop_assert!(!path.as_str().split('/').any(|part| matches!(part, "." | "..")));
        }
    }

    #[test]
    fn whatever_is_read_is_shown_and_read_again_as_the_same(text in any::<String>()) {
        if let Ok(path) = FilePath::parse(&format!("r:{text}")) {
            prop_assert_eq!(path.root.as_str(), "r");
        }
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
        if let Ok(name) = Name::parse(&text) {
            prop_assert_eq!(name.as_str(), text);
        }
    }
}
