//! Texts that name paths, hosts and accesses: what is read is in one spelling, and is read again as the same.

#![no_main]

use airssys_osl::{Access, FilePath, Host, Name, RelPath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(path) = RelPath::parse(text) {
        let parts = || path.as_str().split('/');
        assert!(path.is_root() || parts().all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
        assert!(!path.as_str().contains('\0'), "{path:?}");
        let again = RelPath::parse(if path.is_root() { "." } else { path.as_str() });
        assert_eq!(again.as_ref(), Ok(&path));
    }
    if let Ok(path) = FilePath::parse(text) {
        assert!(Name::parse(path.root.as_str()).is_ok(), "{path:?}");
    }
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
    }
    if let Ok(access) = Access::parse(text) {
        let shown = access.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
});
