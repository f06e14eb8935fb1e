use emberbox_runtime::{CallError, Deployment, Limits};

use crate::support::{ENGINE, World, grants};

/// A guest of an older version of `wasi:nn`: it traps where the host does not do as it should, and
/// ends without an answer where all is well.
fn guest(version: &str) -> Vec<u8> {
    let text = include_str!("stateful.wat").replace("VERSION", version);
    wat::parse_str(&text).expect("WAT")
}

#[tokio::test]
async fn older_versions_keep_inputs_and_outputs() {
    for version in ["0.2.0-rc-2024-06-25", "0.2.0-rc-2024-08-19"] {
        let world = World::new();
        let guest = guest(version);
        let deployment =
            Deployment::compile(&ENGINE, &guest, Limits::default(), grants()).expect(version);
        let error = world.get(&deployment, "/").await.failed();
        assert!(matches!(error, CallError::NoResponse(_)), "{version}: {error}");
        // Once with three words, once more with the same, and streamed.
        let words: Vec<u32> = world.purse.settled().iter().map(|u| u.output_tokens).collect();
        assert_eq!(words, [3, 3, 3], "{version}");
        assert_eq!((world.purse.reservations(), world.bridge.open_sessions()), (0, 0));
    }
}

#[tokio::test]
async fn older_versions_reach_no_more_than_what_is_granted() {
    let world = World::new();
    let guest = guest("0.2.0-rc-2024-08-19");
    let deployment = Deployment::compile(&ENGINE, &guest, Limits::default(), Default::default());
    let error = world.get(&deployment.unwrap(), "/").await.failed();
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert!(world.purse.settled().is_empty());
}
