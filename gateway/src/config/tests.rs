use super::{Billing, Config, Role, Store};

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
    let all = example.replace("# data", "data").replace("# otlp_", "otlp_");
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

#[test]
fn the_documented_example_names_every_role() {
    let example = include_str!("../../../infra/emberbox.example.toml");
    let full = ["url", "gateway", "ca", "certificate", "key", "[billing]"]
        .iter()
        .fold(example.to_owned(), |text, name| text.replace(&format!("# {name}"), name))
        .replace("billing = \"metered\"", "")
        .replace("store = \"sqlite\"", "store = \"postgres\"");
    let mistakes = |role: &str| parse(&full, &[("EMBERBOX_ROLE", role)]).err().unwrap_or_default();
    assert_eq!(mistakes("all"), Vec::<String>::new());
    // The files of the example are not there; everything else is right.
    for (role, setting) in
        [("gateway", "billing.certificate: "), ("billing", "billing_service.certificate: ")]
    {
        let mistakes = mistakes(role);
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(setting), "{mistakes:?}");
    }
}

#[test]
fn a_role_says_what_it_misses() {
    let missing = |role: &str, text: &str| {
        let mut mistakes = parse(text, &[("EMBERBOX_ROLE", role)]).unwrap_err();
        mistakes.sort();
        mistakes
    };
    let gateway = missing("gateway", "billing = 'unmetered'");
    let expected = [
        "billing.ca: is missing",
        "billing.certificate: is missing",
        "billing.gateway: is missing",
        "billing.key: is missing",
        "billing.url: is missing",
        "billing: must be",
    ];
    assert_eq!(gateway.len(), expected.len(), "{gateway:#?}");
    for (mistake, expected) in gateway.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{expected}: {mistake}");
    }
    let billing = missing("billing", "");
    assert!(billing.iter().all(|mistake| mistake.starts_with("billing_service.")), "{billing:?}");
    assert_eq!(billing.len(), 3);
    let http = missing("gateway", "[billing]\nurl = 'http://billing'");
    assert!(http.contains(&"billing.url: must start with https://".to_owned()), "{http:?}");
    assert!(missing("boss", "")[0].starts_with("EMBERBOX_ROLE: 'boss'"));
}

#[test]
fn stores_are_chosen_and_their_passwords_kept() {
    let url = "postgres://user:hunter2@db/x";
    let text = "[ledger]\nstore = 'postgres'\n[catalog]\nstore = 'postgres'";
    let variables = [("EMBERBOX_LEDGER_URL", url), ("EMBERBOX_CATALOG_URL", url)];
    let config = parse(text, &variables).unwrap();
    for store in [&config.ledger, &config.catalog] {
        assert!(matches!(store, Store::Postgres(found) if found.reveal() == url));
    }
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.role, Role::All);

    let bare = parse(text, &[]).unwrap_err();
    assert_eq!(bare.len(), 2, "{bare:?}");
    assert!(bare[0].starts_with("ledger.url: is missing"), "{bare:?}");
    let wrong = [("EMBERBOX_LEDGER_URL", "mysql://user:hunter2@db/x"), variables[1]];
    let alone = [("EMBERBOX_LEDGER_URL", url)];
    for (text, variables) in [(text, &wrong[..]), ("", &alone[..])] {
        let mistakes = parse(text, variables).unwrap_err();
        assert!(mistakes[0].starts_with("EMBERBOX_LEDGER_URL: "), "{mistakes:?}");
        assert!(!mistakes.concat().contains("hunter2"), "{mistakes:?}");
    }
}

#[test]
fn the_key_of_secrets_is_read_and_not_repeated() {
    let (digits, empty) = ("0f".repeat(32), parse("[secrets]\nkey = ''", &[]).unwrap());
    assert_eq!(empty.secrets_key, None);
    let set = parse("", &[("EMBERBOX_SECRETS_KEY", &format!("{digits}\n"))]).unwrap();
    assert_eq!(set.secrets_key.as_ref().map(|key| key.0), Some([15; 32]));
    let shown = format!("{:?}", set.secrets_key);
    assert!(!shown.contains("15") && !shown.contains("0f"), "{shown}");
    for wrong in [&digits[1..], &digits[2..], &digits.replace('f', "g"), &format!("{digits}0f")] {
        let mistakes = parse(&format!("[secrets]\nkey = '{wrong}'"), &[]).unwrap_err();
        assert_eq!(mistakes, ["secrets.key: must be 64 hexadecimal digits, or empty"]);
    }
}

#[test]
fn the_engine_is_told_its_device_and_its_ways() {
    use emberbox_inference::{Device, EncoderWeights};

    let default = parse("", &[]).unwrap().inference;
    assert_eq!((default.device, default.speculation), (Device::Cpu, true));
    let text = "[inference]\ndevice = 'wgpu'\nspeculation = false";
    let set = parse(text, &[("EMBERBOX_INFERENCE_DEVICE", "cuda:1")]).unwrap().inference;
    assert_eq!((set.device, set.speculation), (Device::Cuda(1), false));
    assert_eq!(default.encoder_weights, EncoderWeights::Stored);
    let set = parse("[inference]\nencoder_weights = 'int8'", &[]).unwrap().inference;
    assert_eq!(set.encoder_weights, EncoderWeights::Int8);
    let mistakes = parse("[inference]\nencoder_weights = 'int4'", &[]).unwrap_err();
    assert!(mistakes[0].starts_with("inference.encoder_weights: 'int4'"), "{mistakes:?}");
    let mistakes = parse("[inference]\ndevice = 'gpu'\nspeculation = 2", &[]).unwrap_err();
    assert!(mistakes[0].starts_with("inference.device: 'gpu': expected \"cpu\""), "{mistakes:?}");
    assert!(mistakes[1].starts_with("inference.speculation: '2'"), "{mistakes:?}");
}
