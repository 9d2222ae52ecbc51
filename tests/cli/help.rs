//! `--help` is the reference of the command line.

use crate::shell::shardmill;

#[test]
fn each_command_explains_itself() {
    let commands: [&[&str]; 14] = [
        &[],
        &["run"],
        &["demo"],
        &["local"],
        &["build"],
        &["deploy"],
        &["rollback"],
        &["check"],
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["bench", "drain"],
        &["bench", "swap"],
        &["bench", "neighbours"],
    ];
    for command in commands {
        let said = shardmill(&[command, &["--help"]].concat());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{command:?}");
        insta::assert_snapshot!(format!("help_{}", command.join("_")), said.stdout);
    }
}

#[test]
fn no_command_and_unknown_ones_are_wrong_usage() {
    for args in [&[] as &[&str], &["rum"], &["run", "--taks", "x"], &["config"]] {
        let said = shardmill(args);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(said.stderr.contains("Usage: shardmill"), "{args:?}: {}", said.stderr);
    }
}
