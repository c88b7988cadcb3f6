//! The documentation and the shell completions name every command.

use crate::harness::{Home, repository};

fn commands(home: &Home) -> Vec<String> {
    let help = home.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    let listed = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names: Vec<String> =
        listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(names.len() > 10, "{names:?}");
    names.into_iter().filter(|name| name != "help").collect()
}

#[test]
fn every_command_is_documented_with_its_options() {
    let home = Home::new();
    let docs = std::fs::read_to_string(repository().join("docs/cli.md")).unwrap();
    for command in commands(&home) {
        assert!(docs.contains(&format!("| [`{command}`]")), "docs/cli.md does not list {command}");
        let help = home.run(&[&command, "--help"]).stdout;
        let options = help.split_whitespace().filter(|word| word.starts_with("--"));
        for option in
            options.map(|option| option.trim_end_matches([',', '.'])).filter(|option| *option != "--help")
        {
            assert!(docs.contains(option), "docs/cli.md does not say {option} of {command}");
        }
    }
}

#[test]
fn completions_know_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]);
        assert_eq!(script.code, Some(0));
        for command in commands(&home) {
            assert!(script.stdout.contains(&command), "{shell} does not complete {command}");
        }
    }
    home.run_json(&["completions", "cmd"]).error("usage", 2);
}

#[test]
fn a_wrong_command_line_is_a_usage_error_in_either_format() {
    let home = Home::new();
    let told = home.run(&["pss"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""));
    assert!(told.stderr.starts_with("error: "), "{}", told.stderr);
    let error = home.run_json(&["pss"]).error("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("pss"), "{error}");
}
