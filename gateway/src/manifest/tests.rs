//! One row per mistake: the text, and the lines of the error that it must give.

use super::*;

const WHOLE: &str = r#"
[function]
name = "storyteller"
component = "target/wasm32-wasip2/release/storyteller.wasm"
max_cost_per_call = "0.01"
models = ["tiny-storyteller", "all-minilm-l6-v2"]
secrets = ["API_TOKEN"]
[price]
call_fee = "0.00001"
compute_markup_bps = 250
[limits]
memory_mib = 128
wall_ms = 5000
cpu_ms = 2000
[environment]
GREETING = "hello"
"#;

fn nano(text: &str) -> Nano {
    text.parse().unwrap()
}

/// `function` plus `rest`, expecting exactly these mistakes.
fn check(text: &str, expected: &[&str]) {
    let error = Manifest::parse(text).unwrap_err();
    let found: Vec<String> = error.mistakes.iter().map(Mistake::to_string).collect();
    assert_eq!(found.len(), expected.len(), "in {text}\nfound {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "in {text}\nfound {found}\nexpected {expected}");
    }
}

fn with(rest: &str) -> String {
    format!("[function]\nname = \"f\"\nmax_cost_per_call = \"0.01\"\n{rest}")
}

#[test]
fn a_whole_manifest_is_read() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    assert_eq!(manifest.name, "storyteller");
    assert_eq!(
        manifest.component.as_deref(),
        Some("target/wasm32-wasip2/release/storyteller.wasm")
    );
    assert_eq!(manifest.max_cost_per_call, nano("0.01"));
    assert!(manifest.models.contains("tiny-storyteller"));
    assert_eq!(manifest.models.len(), 2);
    assert_eq!(manifest.price, Price { call_fee: nano("0.00001"), compute_markup_bps: 250 });
    let limits = CallLimits { memory_mib: 128, wall_ms: 5000, cpu_ms: 2000, ..CallLimits::USUAL };
    assert_eq!(manifest.limits, limits);
    assert_eq!(manifest.environment.get("GREETING").map(String::as_str), Some("hello"));
    assert!(manifest.secrets.iter().eq(["API_TOKEN"]), "{:?}", manifest.secrets);
}

#[test]
fn two_fields_are_enough() {
    let manifest = Manifest::parse(&with("")).unwrap();
    assert_eq!(manifest.component, None);
    assert_eq!(manifest.limits, CallLimits::USUAL);
    assert_eq!(manifest.price, Price::default());
    assert!(manifest.models.is_empty() && manifest.environment.is_empty());
    assert!(manifest.secrets.is_empty());
}

#[test]
fn each_mistake_is_named() {
    for (text, expected) in [
        ("", "function: the table [function] is missing"),
        ("function = 3", "function: a table [function] is expected, not integer"),
        ("[function", "it is not TOML: line 1, column "),
        ("[function]\nname = \"f", "it is not TOML: line 2, column "),
        ("[function]\nname = \"f\"", "function.max_cost_per_call: it is missing"),
        ("[function]\nmax_cost_per_call = \"1\"", "function.name: it is missing"),
    ] {
        check(text, &[expected]);
    }
    for (rest, expected) in [
        ("model = []", "function.model: no such field; known are name"),
        ("models = \"x\"", "function.models: a list of quoted texts is expected, not a string"),
        ("models = [1]", "function.models: a list of quoted texts is expected"),
        ("models = [\"\"]", "function.models: a model's name has 1 to"),
        ("component = \"\"", "function.component: it is the path"),
        ("build = \"make\"", "function.build: function.component must say which file it makes"),
        ("component = \"c\"\nbuild = \" \"", "function.build: it is a command, such as"),
        ("arguments = [\"a\\u0000\"]", "function.arguments: an argument cannot hold a zero byte"),
        ("reuse_instances = 1", "function.reuse_instances: true or false is expected, not an"),
        ("metering = \"gas\"", "function.metering: \"gas\": expected \"cpu\" or \"fuel\""),
        ("metering = 1", "function.metering: a quoted text is expected"),
        ("[limits]\nfuel_millions = 5", "limits.fuel_millions: fuel is counted only with"),
        ("secrets = \"A\"", "function.secrets: a list of quoted texts is expected"),
        ("secrets = [\"A\", \"b\"]", "function.secrets: 'b' is not a valid name: only A to Z"),
        ("secrets = [\"1A\"]", "function.secrets: '1A' is not a valid name: it must not start"),
        (
            "secrets = [\"A\"]\n[environment]\nA = \"x\"",
            "function.secrets: 'A' is in [environment] too",
        ),
        ("component = 7", "function.component: a quoted text is expected, not an integer"),
        ("[limit]", "limit: no such field; known are function"),
        ("[limits]\nmemory_mib = 0", "limits.memory_mib: 0 is out of range; 1 to 4096"),
        ("[limits]\nmemory_mib = -1", "limits.memory_mib: -1 is out of range; 1 to 4096"),
        ("[limits]\nmemory_mib = 4294967297", "limits.memory_mib: 4294967297 is out of range"),
        ("[limits]\nwall_ms = 0", "limits.wall_ms: 0 is out of range"),
        ("[limits]\ncpu_ms = -5", "limits.cpu_ms: -5 is out of range"),
        ("[limits]\ncpu_ms = 1.5", "limits.cpu_ms: a whole number from 1 to 21600000 is expected"),
        ("[limits]\nwall = 3", "limits.wall: no such field; known are memory_mib"),
        ("[price]\ncall_fee = \"-1\"", "price.call_fee: "),
        ("[price]\ncall_fee = \"1\"", "price.call_fee: 1"),
        ("[price]\ncall_fee = 0.1", "price.call_fee: credits are written as a decimal in quotes"),
        ("[price]\ncompute_markup_bps = -1", "price.compute_markup_bps: -1 is out of range"),
        ("[environment]\nA = 1", "environment.A: a quoted text is expected, not an integer"),
        ("[environment]\n1A = \"x\"", "environment.1A: a variable's name has only"),
        ("[environment]\nA = \"a\\u0000\"", "environment.A: a value cannot hold a zero byte"),
    ] {
        check(&with(rest), &[expected]);
    }
}

#[test]
fn amounts_must_be_above_zero() {
    for amount in ["0", "0.000000000", "-0.1", "abc", "", "1e3", "99999999999999999999"] {
        let text = format!("[function]\nname = \"f\"\nmax_cost_per_call = \"{amount}\"");
        check(&text, &["function.max_cost_per_call: "]);
    }
}

#[test]
fn names_are_checked() {
    for good in ["a", "hello", "a-1", &"a".repeat(63)] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in ["", "A", "1a", "-a", "a_b", "a/b", "é", "a b", &"a".repeat(64)] {
        assert!(check_name(bad).is_err(), "{bad}");
        let text = format!("[function]\nname = \"{bad}\"\nmax_cost_per_call = \"1\"");
        check(&text, &["function.name: a name starts with a small letter"]);
    }
}

#[test]
fn all_mistakes_are_reported_together() {
    let text = "[function]\nname = \"Bad\"\nmax_cost_per_call = 1\n[limits]\nwall_ms = 0\n\
                memory_mib = \"x\"\n[surprise]\n";
    let fields = [
        "function.name: ",
        "function.max_cost_per_call: ",
        "limits.memory_mib: ",
        "limits.wall_ms: ",
        "surprise: ",
    ];
    check(text, &fields);
    let shown = Manifest::parse(text).unwrap_err().to_string();
    assert!(shown.starts_with("emberbox.toml has 5 mistakes:\n  function.name: "), "{shown}");
}

#[test]
fn size_is_bounded() {
    let long = with(&format!("# {}", "x".repeat(MANIFEST_BYTES_MAX)));
    check(&long, &["it is "]);
    let models: Vec<String> = (0..=MODELS_MAX).map(|n| format!("\"m{n}\"")).collect();
    check(&with(&format!("models = [{}]", models.join(","))), &["function.models: 17 models"]);
    let secrets: Vec<String> = (0..=SECRETS_MAX).map(|n| format!("\"S{n}\"")).collect();
    check(&with(&format!("secrets = [{}]", secrets.join(","))), &["function.secrets: 33 secrets"]);
    let variables: Vec<String> =
        (0..=ENVIRONMENT_ENTRIES_MAX).map(|n| format!("V{n} = \"\"")).collect();
    let text = with(&format!("[environment]\n{}", variables.join("\n")));
    check(&text, &["environment: 65 values are given"]);
}
