//! Expansions against golden files, and the lists that must follow airssys-rt.

#![allow(clippy::disallowed_methods, reason = "a test reads its golden files and the sources beside it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::{conversion, handler};

/// Compares with a golden file. `BLESS=1 cargo test` writes it anew.
fn check(name: &str, (output, errors): (TokenStream, Vec<syn::Error>)) {
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
fn an_impl_block_becomes_an_actor_with_message_and_client() {
    let block = quote! {
        #[allow(clippy::large_enum_variant)]
        impl Counter {
            const LIMIT: u64 = 7;

            /// Adds, see [`Self::total`].
            #[tell]
            pub async fn add(
                &mut self,
                /// How many.
                mut n: u64,
            ) {
                self.0 += n
            }

            #[cfg(feature = "reset")]
            #[deprecated]
            #[tell]
            pub fn reset(&mut self) -> Result<(), Full> {
                self.0 = 0;
                Ok(())
            }

            #[ask]
            pub fn total(&self) -> u64 {
                self.0
            }

            #[ask]
            pub async fn slow(&mut self, key: String, ctx: &mut Context<Self>) -> Result<Vec<Self>, Full> {
                self.search(ctx, key).await
            }

            #[ask]
            pub fn flush(&self) {}

            #[ask(deferred)]
            pub fn later(&mut self, answer_to: ReplyTo<u64>, urgent: bool) {
                self.1.push(answer_to);
            }

            #[hook]
            async fn stop(&mut self, _: &ExitReason, _: &mut Context<Self>) {}

            fn helper(&self) {}
        }
    };
    check("counter", expand(TokenStream::new(), block));
}

#[test]
fn names_visibility_and_derives_are_chosen() {
    let arguments =
        quote!(pub(crate), message = Wish, address = Wishes, derive(Debug, Clone), crate = facade::rt);
    let block = quote! {
        impl shop::Shop {
            #[tell(from)]
            fn order(&mut self, order: Order) {}
        }
    };
    check("shop", expand(arguments, block));
}

#[test]
fn a_derived_message_converts_where_a_variant_wraps_one_value() {
    let message = quote! {
        enum Event {
            #[cfg(feature = "orders")]
            Arrived(shop::Order),
            Count(u64),
            #[message(skip)]
            Debt(u64),
            Pair(u8, u8),
            Named { n: u16 },
            End,
        }
    };
    check("message", conversion::expand(message));
}

#[test]
fn an_error_in_one_handler_leaves_the_others() {
    let block = quote! {
        impl Counter {
            #[tell]
            fn add(&mut self, n: &u64) {}
            #[ask]
            fn total(&self) -> u64 {
                0
            }
        }
    };
    let (output, errors) = expand(TokenStream::new(), block);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let output = output.to_string();
    assert!(output.contains("CounterMessage :: Total"), "{output}");
    assert!(!output.contains("CounterMessage :: Add"), "{output}");
    assert!(!output.contains("# [tell]") && !output.contains("# [ask]"), "{output}");
}

#[test]
fn a_block_that_does_not_parse_is_told_where() {
    let (_, errors) = expand(TokenStream::new(), quote!(impl Counter { #[tell] fn add(&mut self, n) {} }));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with("expected"), "{errors:?}");
}

#[test]
fn hooks_are_the_methods_of_the_trait_actor() {
    let mut names = BTreeSet::new();
    for item in items_of_airssys_rt() {
        let syn::Item::Trait(item) = item else { continue };
        if item.ident == "Actor" {
            for item in &item.items {
                let syn::TraitItem::Fn(method) = item else { continue };
                let is_known = HOOKS.iter().any(|hook| hook.looks_like(&method.sig));
                assert!(is_known || method.sig.ident == "handle", "HOOKS lacks {}", method.sig.ident);
                names.insert(method.sig.ident.to_string());
            }
        }
    }
    for hook in HOOKS {
        assert!(names.contains(hook.name), "`Actor` has no method `{}`", hook.name);
    }
}

#[test]
fn no_client_method_hides_behind_one_of_the_address() {
    let from_everywhere = ["clone", "clone_from", "into", "to_owned", "try_into"];
    let mut methods: BTreeSet<String> = from_everywhere.map(str::to_owned).into();
    for item in items_of_airssys_rt() {
        if let syn::Item::Impl(item) = item
            && item.trait_.is_none()
            && matches!(item.self_ty.as_ref(), Type::Path(path) if path.path.segments[0].ident == "Address")
        {
            methods.extend(item.items.iter().filter_map(|item| match item {
                ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => {
                    method.sig.receiver().map(|_| method.sig.ident.to_string())
                }
                _ => None,
            }));
        }
    }
    let known: BTreeSet<String> = handler::HIDDEN.iter().map(|&name| name.to_owned()).collect();
    let differing: Vec<&String> = methods.symmetric_difference(&known).collect();
    assert_eq!(differing, Vec::<&String>::new(), "in HIDDEN or in `Address`, but not in both");
}

fn items_of_airssys_rt() -> Vec<syn::Item> {
    let mut items = Vec::new();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../airssys-rt/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                items.extend(items_of(&path));
            }
        }
    }
    items
}

fn items_of(path: &Path) -> Vec<syn::Item> {
    syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap().items
}
