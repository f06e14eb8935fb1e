use super::{Billing, Config};

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::parse(text, environment).map_err(|error| error.mistakes)
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(parse("", &[]), Ok(Config::default()));
    let at_home = parse("", &[("HOME", "/home/ann")]).unwrap();
    assert_eq!(at_home.data.to_str(), Some("/home/ann/.local/share/emberbox"));
}

#[test]
fn the_documented_example_is_the_default() {
    let example = include_str!("../../../infra/emberbox.example.toml");
    assert_eq!(parse(example, &[]), Ok(Config::default()));
    // What has no fixed default stands there as a comment.
    let all = example.replace("# data", "data").replace("# otlp", "otlp");
    let all = parse(&all.replace("# threads", "threads"), &[]).unwrap();
    assert_eq!((all.inference.threads, all.otlp_endpoint.is_some()), (4, true));
}

#[test]
fn variables_win_over_the_file() {
    let text = "data = '/srv'\nbilling = 'unmetered'\n[limits]\njson_bytes_max = 10\n\
        [bootstrap]\ncredits = '0.5'";
    let config =
        parse(text, &[("EMBERBOX_LIMITS_JSON_BYTES_MAX", "20"), ("EMBERBOX_KEY", "eb_x")]).unwrap();
    assert_eq!(config.limits.json_bytes_max, 20);
    assert_eq!(config.billing, Billing::Unmetered);
    assert_eq!(config.data.to_str(), Some("/srv"));
    assert_eq!(config.bootstrap.credits.as_nano(), 500_000_000);
}

#[test]
fn every_mistake_is_reported() {
    let text = "listen = 'here'\ncolour = 1\nbilling = 'free'\n\
        [limits]\nrequests_max = 0\njson_bytes_max = -1\n[bootstrap]\ncredits = '-1'";
    let mistakes = parse(text, &[("EMBERBOX_LIMITS_HEADER_BYTES_MAX", "9")]).unwrap_err();
    let expected = [
        "listen: 'here'",
        "billing: 'free'",
        "limits.json_bytes_max: '-1'",
        "limits.requests_max: must be at least 1",
        "EMBERBOX_LIMITS_HEADER_BYTES_MAX: must be at least 8192",
        "bootstrap.credits",
        "colour: there is no such setting",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for expected in expected {
        assert!(mistakes.iter().any(|m| m.starts_with(expected)), "{expected} in {mistakes:#?}");
    }
    let not_toml = parse("listen = ", &[]).unwrap_err();
    assert!(not_toml[0].starts_with("not TOML"), "{not_toml:?}");
}
