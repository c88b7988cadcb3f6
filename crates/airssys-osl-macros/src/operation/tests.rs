//! Expansions against golden files, and the lists that must follow airssys-osl.

#![allow(clippy::disallowed_methods, reason = "a test reads its golden files")]

use airssys_osl::{FileVerb, HostFacility, Name, NetVerb};
use quote::quote;

use super::*;
use crate::attribute::{FACILITIES, FILE_VERBS, NET_VERBS, is_name};

/// Compares with a golden file. `BLESS=1 cargo test` writes it anew.
fn check(name: &str, item: TokenStream) {
    let (output, errors) = expand(item);
    assert!(errors.is_empty(), "{errors:?}");
    let text = prettyplease::unparse(&syn::parse2(output).unwrap());
    let path = format!("{}/tests/output/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{path} differs; if it should, set BLESS=1");
}

#[test]
fn a_struct_states_its_accesses_fields_and_bytes() {
    let item = quote! {
        #[operation(name = "mail.send")]
        #[access(clock)]
        pub struct Mail {
            #[access(own = "send")]
            to: Vec<Name>,
            #[access(read, stat)]
            attached: Option<FilePath>,
            #[access(resolve, connect, port = port)]
            server: Host,
            port: Port,
            #[access(env)]
            user: Name,
            #[access(secret)]
            #[audit(name = "credential")]
            credential_name: Name,
            #[audit]
            r#type: String,
            #[audit(redact, name = "key")]
            token: String,
            #[bytes]
            body: Vec<u8>,
            unmarked: u8,
        }
    };
    check("mail", item);
}

#[test]
fn generics_and_cfg_are_kept_and_the_crate_is_chosen() {
    let item = quote! {
        #[operation(name = "note.keep", crate = facade::osl)]
        struct Note<T: Clone, const N: usize>
        where
            T: PartialEq,
        {
            #[access(own = "keep")]
            key: Name,
            #[cfg(feature = "files")]
            #[access(write)]
            #[audit(name = "path")]
            #[bytes]
            file: FilePath,
            #[audit]
            value: T,
            #[audit(redact)]
            hidden: Vec<T>,
            rest: [u8; N],
        }
    };
    check("note", item);
}

#[test]
fn a_struct_without_fields_may_use_the_host() {
    check("now", quote! { #[operation(name = "now")] #[access(clock)] struct Now; });
}

#[test]
fn every_mistake_is_told_and_with_one_there_is_no_operation() {
    let item = quote! {
        #[operation(name = "..")]
        struct Mail {
            #[access(reed)]
            one: FilePath,
            #[access(connect)]
            other: Host,
            #[audit(hide)]
            third: String,
            #[access(own = "send")]
            sound: Name,
        }
    };
    let (output, errors) = expand(item);
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(output.is_empty(), "{output}");
}

#[test]
fn words_are_those_of_policies() {
    fn words<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
        words.iter().map(|(word, _)| *word).collect()
    }
    assert_eq!(words(FileVerb::WORDS), FILE_VERBS);
    assert_eq!(words(NetVerb::WORDS), NET_VERBS);
    assert_eq!(words(HostFacility::WORDS), FACILITIES);
}

#[test]
fn names_are_those_of_policies() {
    let longest = "a".repeat(256);
    let samples = ["", ".", "..", "a", "a/b", "a//b", "/a", "a/", "a/..", "a.b", "ä", "a b", "A@#_-9", "a\0"];
    for name in samples.into_iter().chain([longest.as_str(), &format!("{longest}a")]) {
        assert_eq!(is_name(name), Name::parse(name).is_ok(), "{name:?}");
    }
}
