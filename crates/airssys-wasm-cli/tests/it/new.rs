//! `airssys new`: what it makes builds, and it takes no place that is taken.

use std::process::Command;

use crate::harness::{Home, repository};

#[test]
fn a_new_project_has_its_name_and_compiles() {
    let home = Home::new();
    let sdk = repository().join("crates/airssys-wasm-component");
    let ran = home.run_json(&["new", "shop-front", "--sdk", sdk.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let files = ran.data()["files"].as_array().unwrap().clone();
    for file in &files {
        assert!(home.path().join("shop-front").join(file.as_str().unwrap()).is_file(), "{file}");
    }
    let read = |file: &str| std::fs::read_to_string(home.path().join("shop-front").join(file)).unwrap();
    assert!(read("Cargo.toml").contains("name = \"shop-front\""));
    assert!(read("airssys.toml").contains("name = \"shop-front\""));

    // On the host, where the SDK has a fake one: what needs a wasm target is tested with the guests.
    let checked = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--lib", "--target"])
        .arg(host_target())
        .current_dir(home.path().join("shop-front"))
        .env("CARGO_TARGET_DIR", home.path().join("target"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

fn host_target() -> String {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

#[test]
fn a_new_project_runs_before_its_first_build() {
    let home = Home::new();
    home.run_json(&["new", "shop-front"]).data();
    let up = home.up(&["shop-front"]);
    assert_eq!(home.run_json(&["call", "shop-front", "Ada"]).data()["text"], "hello, Ada");
    home.run_json(&["stop"]).data();
    assert_eq!(up.end().code, Some(0));
}

#[test]
fn a_build_may_take_the_place_of_the_prebuilt_component_or_be_named() {
    let home = Home::new();
    home.run_json(&["new", "shop-front"]).data();
    // As cargo leaves it: with a second name in `deps`.
    let prebuilt = home.path().join("shop-front/shop-front.wasm");
    let built = "shop-front/target/wasm32-unknown-unknown/release/shop_front.wasm";
    let built = home.write(built, std::fs::read(&prebuilt).unwrap());
    std::fs::hard_link(&built, built.with_extension("deps")).unwrap();
    std::fs::remove_file(&prebuilt).unwrap();

    let error = home.run_json(&["up", "shop-front"]).error("not-found", 3);
    assert!(error["hint"].as_str().unwrap().contains("build the component"), "{error}");

    let answers = || {
        let up = home.up(&["shop-front"]);
        assert_eq!(home.run_json(&["call", "shop-front", "Ada"]).data()["text"], "hello, Ada");
        home.run_json(&["stop"]).data();
        assert_eq!(up.end().code, Some(0));
    };
    std::fs::copy(&built, &prebuilt).unwrap();
    answers();

    std::fs::remove_file(&prebuilt).unwrap();
    let manifest = home.path().join("shop-front/Component.toml");
    let named = std::fs::read_to_string(&manifest).unwrap().replace(
        "wasm = \"shop-front.wasm\"",
        "wasm = \"target/wasm32-unknown-unknown/release/shop_front.wasm\"",
    );
    std::fs::write(&manifest, named).unwrap();
    answers();
}

#[test]
fn without_an_sdk_folder_the_dependency_is_a_version() {
    let home = Home::new();
    let told = home.run(&["new", "back"]).stdout;
    assert!(told.contains("on no registry yet") && told.contains("--sdk PATH"), "{told}");
    let sdk = repository().join("crates/airssys-wasm-component");
    let told = home.run(&["new", "side", "--sdk", sdk.to_str().unwrap()]).stdout;
    assert!(told.contains("created side") && !told.contains("on no registry"), "{told}");

    home.run_json(&["new", "front"]).data();
    let manifest = std::fs::read_to_string(home.path().join("front/Cargo.toml")).unwrap();
    let version = concat!("airssys-wasm-component = \"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(manifest.contains(version), "{manifest}");
    assert!(!manifest.contains("../"), "{manifest}");
}

#[test]
fn an_existing_folder_is_left_alone() {
    let home = Home::new();
    home.write("taken/file", "mine");
    home.run_json(&["new", "taken"]).error("refused", 6);
    assert_eq!(std::fs::read_dir(home.path().join("taken")).unwrap().count(), 1);
}

#[test]
fn a_name_that_cargo_or_an_application_refuses_is_refused_here() {
    let home = Home::new();
    for name in
        ["", "Shop", "1shop", "a/b", "..", "a b", "fn", "test", "airssys-wasm-component", &"a".repeat(65)]
    {
        home.run_json(&["new", "--", name]).error("usage", 2);
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "something was written");
    home.run_json(&["new", "shop", "--sdk", "nowhere"]).error("not-found", 3);
}
