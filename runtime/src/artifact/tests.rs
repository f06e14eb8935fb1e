use super::*;
use crate::EngineOptions;

const DIGEST: &str = "d1";

fn engine() -> Engine {
    Engine::new(EngineOptions { pooling: false, ..EngineOptions::default() }).unwrap()
}

fn hello() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/prebuilt/hello.wasm");
    std::fs::read(path).unwrap()
}

fn build(digest: &str) -> Build {
    Build { digest: digest.to_owned(), metering: Metering::Cpu }
}

fn only_folder(root: &Path) -> PathBuf {
    let folders: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    folder.clone()
}

#[test]
fn what_was_kept_is_found_by_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine();
    let compiled = compile(engine.options(), &hello(), Metering::Cpu).unwrap();
    Artifacts::open(&engine, root.path(), [7; KEY_BYTES], |_| true)
        .unwrap()
        .write(&build(DIGEST), &compiled)
        .unwrap();
    // What a crash of another version left, and that version itself.
    fs::create_dir(root.path().join("0000000000000000")).unwrap();
    let next = Artifacts::open(&engine, root.path(), [7; KEY_BYTES], |_| true).unwrap();
    let found = next.read(&build(DIGEST)).unwrap().unwrap();
    assert!(found.bytes() >= compiled.len(), "{} of {}", found.bytes(), compiled.len());
    assert!(next.read(&build("d2")).unwrap().is_none());
    // What a crash has left in the middle of an upload.
    for orphan in ["d2.cwasm", "d2.mac", ".tmpAbC", "d1.cwasm.part"] {
        fs::write(only_folder(root.path()).join(orphan), b"left").unwrap();
    }
    let next =
        Artifacts::open(&engine, root.path(), [7; KEY_BYTES], |digest| digest == DIGEST).unwrap();
    assert!(next.read(&build(DIGEST)).unwrap().is_some());
    assert_eq!(fs::read_dir(only_folder(root.path())).unwrap().count(), 2);
    next.remove(DIGEST);
    next.remove(DIGEST);
    assert!(next.read(&build(DIGEST)).unwrap().is_none());
    assert_eq!(fs::read_dir(only_folder(root.path())).unwrap().count(), 0);
}

/// A pool's engine compiles nothing else than one without: code goes from one to the other.
#[test]
fn a_pool_takes_what_the_compiler_gives() {
    let root = tempfile::tempdir().unwrap();
    let pooled = Engine::new(EngineOptions::default()).unwrap();
    let compiled = compile(&EngineOptions::default(), &hello(), Metering::Cpu).unwrap();
    let artifacts = Artifacts::open(&pooled, root.path(), [7; KEY_BYTES], |_| true).unwrap();
    artifacts.write(&build(DIGEST), &compiled).unwrap();
    assert!(artifacts.read(&build(DIGEST)).unwrap().is_some());
}

#[test]
fn what_is_not_ours_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine();
    let compiled = compile(engine.options(), &hello(), Metering::Cpu).unwrap();
    let artifacts = Artifacts::open(&engine, root.path(), [7; KEY_BYTES], |_| true).unwrap();
    let refused = |what: &str| {
        assert!(artifacts.read(&build(DIGEST)).unwrap().is_none(), "{what}");
        artifacts.write(&build(DIGEST), &compiled).unwrap();
        assert!(artifacts.read(&build(DIGEST)).unwrap().is_some(), "after {what}");
    };
    artifacts.write(&build(DIGEST), &compiled).unwrap();
    let other = Artifacts::open(&engine, root.path(), [8; KEY_BYTES], |_| true).unwrap();
    assert!(other.read(&build(DIGEST)).unwrap().is_none(), "another key");

    let (code, tag) = (artifacts.path(DIGEST), artifacts.tag_path(DIGEST));
    let change = |path: &Path, bytes: &[u8]| {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for at in [0, compiled.len() / 2, compiled.len() - 1] {
        let mut altered = compiled.clone();
        altered[at] ^= 1;
        change(&code, &altered);
        refused(&format!("byte {at}"));
    }
    change(&code, &compiled[..compiled.len() - 1]);
    refused("a file cut short");
    change(&code, b"");
    refused("an empty file");
    change(&tag, b"");
    refused("an empty code");
    change(&tag, &[0; 32]);
    refused("another code");
    fs::remove_file(&tag).unwrap();
    refused("no code");
    // Genuine, and another component's.
    artifacts.write(&build("d2"), &compiled).unwrap();
    fs::rename(artifacts.path("d2"), &code).unwrap();
    fs::rename(artifacts.tag_path("d2"), &tag).unwrap();
    refused("what was kept for another component");
}

/// One upload, compiled for both ways of counting.
#[test]
fn what_counts_fuel_is_kept_beside_what_does_not() {
    let root = tempfile::tempdir().unwrap();
    let engine = engine();
    let builds =
        [Metering::Cpu, Metering::Fuel].map(|metering| Build { metering, ..build(DIGEST) });
    let artifacts = Artifacts::open(&engine, root.path(), [7; KEY_BYTES], |_| true).unwrap();
    for build in &builds {
        assert!(!artifacts.has(build));
        let compiled = compile(engine.options(), &hello(), build.metering).unwrap();
        artifacts.write(build, &compiled).unwrap();
    }
    let next =
        Artifacts::open(&engine, root.path(), [7; KEY_BYTES], |digest| digest == DIGEST).unwrap();
    for build in &builds {
        let read = next.read(build).unwrap().unwrap();
        assert_eq!(read.flavour.metering, build.metering);
    }
    // Genuine, and for the other way.
    let [cpu, fuel] = builds.each_ref().map(Build::name);
    fs::rename(artifacts.path(&cpu), artifacts.path(&fuel)).unwrap();
    fs::rename(artifacts.tag_path(&cpu), artifacts.tag_path(&fuel)).unwrap();
    assert!(next.read(&builds[1]).unwrap().is_none());
    next.remove(DIGEST);
    assert_eq!(fs::read_dir(only_folder(root.path())).unwrap().count(), 0);
}
