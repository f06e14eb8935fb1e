use super::*;

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files under a folder, as paths relative to it, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).unwrap();
                found.push(relative.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

/// Names and versions of the packages in a lock file, sorted.
fn packages(lock: &str) -> Vec<(String, String)> {
    let lock: toml::Table = lock.parse().unwrap();
    let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap().iter();
    packages.map(|package| (text(package, "name"), text(package, "version"))).collect()
}

#[test]
fn a_project_is_whole_and_carries_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("above/my-fn");
    let written = write_project(&dir, "my-fn").unwrap();
    let mut listed: Vec<String> = written
        .iter()
        .map(|path| path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned())
        .collect();
    listed.sort();
    assert_eq!(listed, files(&dir));
    for path in &written {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains(NAME), "{} has a place left to fill", path.display());
    }
    let parse = |file: &str| -> toml::Table {
        fs::read_to_string(dir.join(file)).unwrap().parse().unwrap()
    };
    assert_eq!(parse("Cargo.toml")["package"]["name"].as_str(), Some("my-fn"));
    assert_eq!(parse("emberbox.toml")["function"]["name"].as_str(), Some("my-fn"));
}

#[test]
fn the_sdk_is_whole() {
    let sdk = root().join("guest-sdk");
    let listed: Vec<&str> = SDK.iter().map(|(path, _)| *path).collect();
    let mut there = vec!["Cargo.toml".to_owned()];
    for part in ["src", "wit"] {
        there.extend(files(&sdk.join(part)).into_iter().map(|file| format!("{part}/{file}")));
    }
    assert_eq!(listed, there, "add the SDK's new file to the list in template.rs");
}

#[test]
fn the_lock_has_what_the_project_needs_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    write_project(&dir.path().join("own"), "own").unwrap();
    let project = dir.path().join("own");
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1"])
        .current_dir(&project)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "Cargo would write the lock anew: {said}");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut expected: Vec<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap().to_owned();
            (text("name"), text("version"))
        })
        .collect();
    expected.sort();
    assert!(expected.len() > 10);
    // What the SDK's features would need is in the lock too, and Cargo wants it there; what nobody
    // needs it would take out, which it was not allowed to.
    let locked = packages(&lock_for("own"));
    let missing: Vec<_> = expected.iter().filter(|package| !locked.contains(package)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_lock_stays_in_order() {
    for name in ["a", "my-fn", "zzz"] {
        let packages = packages(&lock_for(name));
        let mut sorted = packages.clone();
        sorted.sort();
        assert_eq!(packages, sorted, "{name}");
    }
}

#[test]
fn names_that_will_not_do_are_refused() {
    let longest = "a".repeat(NAME_BYTES_MAX);
    let too_long = "a".repeat(NAME_BYTES_MAX + 1);
    for (name, expect) in [
        ("a", None),
        ("my-fn2-", None),
        ("hello", None),
        (longest.as_str(), None),
        (too_long.as_str(), Some("lower-case")),
        ("", Some("lower-case")),
        ("2nd", Some("lower-case")),
        ("-a", Some("lower-case")),
        ("My", Some("lower-case")),
        ("a_b", Some("lower-case")),
        ("a/b", Some("lower-case")),
        ("..", Some("lower-case")),
        ("tür", Some("lower-case")),
        ("match", Some("Rust's own")),
        ("std", Some("comes with Rust")),
        ("serde", Some("uses a crate")),
        ("emberbox-sdk", Some("uses a crate")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let result = write_project(&dir, name);
        match expect {
            None => assert!(result.is_ok(), "{name}: {result:?}"),
            Some(says) => {
                assert!(result.unwrap_err().to_string().contains(says), "{name}");
                assert!(!dir.exists(), "{name}");
            }
        }
    }
}

#[test]
fn a_folder_with_something_in_it_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    assert!(write_project(folder.path(), "first").is_ok(), "an empty folder will do");
    let before = files(folder.path());
    let error = write_project(folder.path(), "second").unwrap_err();
    assert!(matches!(error, TemplateError::NotEmpty(_)), "{error}");
    assert_eq!(files(folder.path()), before);
    let error = write_project(&folder.path().join("README.md"), "third").unwrap_err();
    assert!(matches!(error, TemplateError::NotAFolder(_)), "{error}");
}

#[test]
fn what_fails_in_the_middle_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/deep");
    let mut made = Made::default();
    made.file(&dir.join("a/b.txt"), "text").unwrap();
    let error = made.file(&dir.join("a/b.txt"), "again").unwrap_err();
    assert!(matches!(error, TemplateError::Io { .. }), "{error}");
    drop(made);
    assert!(!folder.path().join("new").exists());
}
