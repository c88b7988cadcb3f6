//! Texts of policies: one that is read decides everything alike whenever it is asked, and says why.

#![no_main]

use std::sync::LazyLock;

use airssys_osl::{Access, Decision, Policy};
use libfuzzer_sys::fuzz_target;

static ACCESSES: LazyLock<Vec<Access>> = LazyLock::new(|| {
    let texts = [
        "read d:a",
        "write d:a/b.txt",
        "list d:.",
        "remove d:.hidden/x",
        "connect example.com:443",
        "connect 127.0.0.1:1",
        "listen [::1]:8080",
        "resolve a.example.com",
        "run /bin/true",
        "run /bin/sh -c x",
        "env HOME",
        "secret a/b",
        "host clock",
        "own act a/b",
    ];
    texts.map(|text| Access::parse(text).expect("an access")).into()
});

fuzz_target!(|text: &str| {
    let Ok(policy) = Policy::parse(text, "policy.toml") else {
        return;
    };
    for subject in policy.subjects() {
        for access in ACCESSES.iter() {
            let decision = policy.decide(subject, access);
            assert_eq!(decision, policy.decide(subject, access));
            let reasons = policy.explain(subject, access);
            match decision {
                Decision::Allowed(rule) | Decision::Denied(Some(rule)) => assert_eq!(reasons[0], rule),
                Decision::Denied(None) => assert!(reasons.is_empty()),
            }
            assert_eq!(policy.who_can(access).contains(&subject), decision.is_allowed());
        }
    }
});
