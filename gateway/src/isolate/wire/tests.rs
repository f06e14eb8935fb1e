use serde::Deserialize;

use super::*;

/// Says back what it hears, doubled; 0 is never answered.
struct Double(Notify);

impl Service for Double {
    type Ask = Vec<u8>;
    type Tell = String;

    async fn answer(self: Arc<Self>, ask: Vec<u8>) -> Reply {
        if ask == [0] {
            std::future::pending::<()>().await;
        }
        if ask == [1] {
            tokio::task::yield_now().await;
        }
        Reply::new(&[ask.clone(), ask].concat())
    }

    fn hear(&self, _tell: String) {
        self.0.notify_one();
    }
}

fn pair() -> (Peer, Peer, Arc<Double>) {
    let (one, other) = UnixStream::pair().unwrap();
    let (one, other) = (Peer::new(one), Peer::new(other));
    let service = Arc::new(Double(Notify::new()));
    for side in [&one, &other] {
        let (side, service) = (side.clone(), Arc::clone(&service));
        tokio::spawn(async move { side.listen(service).await });
    }
    (one, other, service)
}

#[tokio::test]
async fn both_sides_ask_and_answer() {
    let (one, other, service) = pair();
    for length in [1, 100, 64 << 10, 5 << 20] {
        for asked in [1, 2] {
            let ask = vec![asked; length];
            let (a, b) = tokio::join!(one.ask::<Vec<u8>, _>(&ask), other.ask::<Vec<u8>, _>(&ask));
            assert_eq!((a.unwrap().len(), b.unwrap()), (2 * length, vec![asked; 2 * length]));
        }
    }
    one.tell(&"hello");
    service.0.notified().await;
}

#[tokio::test]
async fn who_waits_hears_of_the_end() {
    let (one, other, _service) = pair();
    let mut pending = one.begin(&vec![0_u8]);
    let asked = one.ask::<Vec<u8>, _>(&vec![0_u8]);
    let ended = async {
        other.ask::<Vec<u8>, _>(&vec![2_u8]).await.unwrap();
        other.hang_up();
    };
    let (asked, ()) = tokio::join!(asked, ended);
    assert_eq!(asked, Err(Lost));
    assert_eq!(pending.answer::<Vec<u8>>().await, Err(Lost));
    one.gone().await;
    assert_eq!(one.ask::<Vec<u8>, _>(&vec![2_u8]).await, Err(Lost), "and so does who comes later");
}

#[tokio::test]
async fn an_answer_waits_for_whoever_asks_again() {
    let (one, _other, _service) = pair();
    let mut pending = one.begin(&vec![1_u8]);
    {
        let dropped = pending.answer::<Vec<u8>>();
        drop(dropped);
    }
    assert_eq!(pending.answer::<Vec<u8>>().await.unwrap(), [1, 1]);
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection() {
    let too_long = [&[0xff_u8; 4][..], &[ASK], &[0; 8]].concat();
    let unknown = [&1_u32.to_le_bytes()[..], &[9], &[0; 8], &[0xc0]].concat();
    let no_text = [&1_u32.to_le_bytes()[..], &[ASK], &[0; 8], &[0xc1]].concat();
    for bytes in [too_long, unknown, no_text] {
        let (one, other) = UnixStream::pair().unwrap();
        let peer = Peer::new(one);
        other.try_write(&bytes).unwrap();
        peer.listen(Arc::new(Double(Notify::new()))).await;
        peer.gone().await;
    }
}

#[test]
fn messages_keep_what_is_in_them() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        value: serde_json::Value,
        bytes: Bytes,
        nothing: Option<u32>,
    }
    let value = serde_json::json!({ "a": [1, -2, 3.5, null, true, "x"] });
    let all = All { value, bytes: Bytes::from_static(b"\0\xff"), nothing: None };
    let text = rmp_serde::to_vec_named(&all).unwrap();
    assert_eq!(decode::<All>(&text).unwrap(), all);
}
