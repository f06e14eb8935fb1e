//! The protocol over wasi:nn, played by a script in the host's place.

use super::*;
use crate::{Message, Model, Role};
use std::cell::RefCell;

/// Answers each `compute` with the next outputs of the script and keeps what it was given. A
/// context that is opened leaves the note `open`, one that is dropped `close`.
struct Script {
    outputs: RefCell<std::vec::IntoIter<Result<Named, Error>>>,
    seen: RefCell<Vec<String>>,
}

struct Player(Rc<Script>);

struct Playing(Rc<Script>);

impl Graph for Player {
    fn context(&self) -> Result<Box<dyn Compute>, Error> {
        self.0.seen.borrow_mut().push("open".into());
        Ok(Box::new(Playing(Rc::clone(&self.0))))
    }
}

impl Compute for Playing {
    fn compute(&mut self, inputs: Named) -> Result<Named, Error> {
        let inputs = inputs.iter().map(|(name, t)| format!("{name}={}", t.to_text().unwrap()));
        self.0.seen.borrow_mut().push(inputs.collect::<Vec<_>>().join(" "));
        self.0.outputs.borrow_mut().next().unwrap()
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.seen.borrow_mut().push("close".into());
    }
}

fn script(outputs: Vec<Result<Named, Error>>) -> (Model, Rc<Script>) {
    let outputs = RefCell::new(outputs.into_iter());
    let script = Rc::new(Script { outputs, seen: RefCell::default() });
    (Model::over(Rc::new(Player(Rc::clone(&script)))), script)
}

fn text(text: &str, tokens: &[i64]) -> Result<Named, Error> {
    Ok(vec![("text".into(), Tensor::text(text)), ("tokens".into(), Tensor::i64(tokens))])
}

fn last(piece: &str, reason: &str) -> Result<Named, Error> {
    let usage = r#"{"input_tokens":5,"output_tokens":2}"#;
    let mut outputs = text(piece, &[])?;
    outputs.push(("finish_reason".into(), Tensor::text(reason)));
    outputs.push(("usage".into(), Tensor::text(usage)));
    Ok(outputs)
}

const USAGE: Usage = Usage { input_tokens: 5, cached_input_tokens: 0, output_tokens: 2 };

#[test]
fn pieces_come_until_the_end_is_named() {
    let outputs = vec![
        text("Once", &[7]),
        text("", &[]),
        text("", &[4]),
        text(" upon", &[8, 9]),
        last("!", "\"stop\""),
    ];
    let (model, script) = script(outputs);
    let mut pieces =
        model.generate("Hi").max_tokens(3).temperature(0.5).seed(1).stop("END").stream();
    assert!(script.seen.borrow().is_empty(), "nothing runs before it is asked for");
    assert_eq!(pieces.next(), Some(Ok(Piece { text: "Once".into(), tokens: vec![7] })));
    assert_eq!((pieces.usage(), pieces.finish_reason()), (None, None));
    let rest: Vec<String> = pieces.by_ref().map(|piece| piece.unwrap().text).collect();
    assert_eq!(rest, ["", " upon", "!"]);
    assert_eq!((pieces.usage(), pieces.finish_reason()), (Some(USAGE), Some(&FinishReason::Stop)));
    assert_eq!(pieces.next(), None);
    let options = r#"{"max_tokens":3,"temperature":0.5,"seed":1,"stop":["END"],"stream":true}"#;
    let first = format!("prompt=Hi options={options}");
    assert_eq!(*script.seen.borrow(), ["open", &first, "", "", "", "", "close"]);
}

#[test]
fn a_whole_answer_joins_the_pieces() {
    for (reason, expect) in [
        ("\"length\"", FinishReason::Length),
        ("budget", FinishReason::Budget),
        ("\"cancelled\"", FinishReason::Cancelled),
        ("\"tired\"", FinishReason::Other("tired".into())),
    ] {
        let (model, _) = script(vec![text("a", &[1]), last("", reason)]);
        let whole = model.generate("Hi").complete().unwrap();
        assert_eq!(whole, Completion { text: "a".into(), finish_reason: expect, usage: USAGE });
    }
}

#[test]
fn an_error_ends_the_stream() {
    let error = Error::BudgetExhausted("0.01".into());
    let (model, script) = script(vec![text("a", &[1]), Err(error.clone())]);
    let all: Vec<_> = model.generate("Hi").stream().collect();
    assert_eq!(all, [Ok(Piece { text: "a".into(), tokens: vec![1] }), Err(error)]);
    assert_eq!(script.seen.borrow().last().map(String::as_str), Some("close"));
}

#[test]
fn nonsense_from_the_host_is_an_error() {
    for outputs in [
        vec![("text".to_owned(), Tensor::i64(&[1]))],
        vec![("tokens".to_owned(), Tensor::text("x"))],
        vec![
            ("finish_reason".to_owned(), Tensor::text("stop")),
            ("usage".to_owned(), Tensor::text("{")),
        ],
    ] {
        let (model, _) = script(vec![Ok(outputs)]);
        assert!(model.generate("Hi").complete().is_err());
    }
}

#[test]
fn a_chat_keeps_its_context_and_its_messages() {
    let outputs = vec![text("A fox", &[1]), last(".", "stop"), last("It ran.", "stop")];
    let (model, script) = script(outputs);
    let mut chat = model.chat().system("Be brief.").max_tokens(9);
    assert_eq!(chat.say("Who?").complete().unwrap().text, "A fox.");
    let mut turn = chat.say("And?");
    assert_eq!(turn.by_ref().map(|piece| piece.unwrap().text).collect::<String>(), "It ran.");
    assert_eq!(turn.usage(), Some(USAGE));
    drop(turn);
    let roles: Vec<Role> = chat.messages().iter().map(|message| message.role).collect();
    use Role::{Assistant, System, User};
    assert_eq!(roles, [System, User, Assistant, User, Assistant]);
    assert_eq!(chat.messages()[2], Message::assistant("A fox."));
    drop(chat);
    let seen = script.seen.borrow();
    assert_eq!(seen.iter().filter(|note| *note == "open").count(), 1, "{seen:?}");
    let second = r#"messages=[{"role":"system","content":"Be brief."},{"role":"user","content":"Who?"},{"role":"assistant","content":"A fox."},{"role":"user","content":"And?"}] "#;
    assert!(seen[3].starts_with(second), "{}", seen[3]);
}

#[test]
fn a_turn_left_in_the_middle_closes_its_context() {
    let (model, script) = script(vec![text("A fo", &[1]), last("Yes", "stop")]);
    let mut chat = model.chat();
    assert_eq!(chat.say("Who?").next().unwrap().unwrap().text, "A fo");
    assert_eq!(chat.messages()[1], Message::assistant("A fo"));
    assert_eq!(chat.say_last("Really?").complete().unwrap().text, "Yes");
    let seen = script.seen.borrow();
    let notes: Vec<&str> = seen.iter().map(|n| n.split('=').next().unwrap()).collect();
    assert_eq!(notes, ["open", "messages", "close", "open", "messages", "close"]);
}

#[test]
fn embeddings_are_one_row_per_text() {
    let rows = Tensor::f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let (model, script) = script(vec![Ok(vec![("embeddings".into(), rows)])]);
    let vectors = model.embed(&["a", "b"]).unwrap();
    assert_eq!(vectors, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(script.seen.borrow()[1], r#"texts=["a","b"]"#);
    assert_eq!(model.embed::<&str>(&[]), Ok(vec![]));
}

#[test]
fn embeddings_that_do_not_fit_are_refused() {
    for outputs in [
        vec![],
        vec![("embeddings".to_owned(), Tensor::f32(&[1, 3], &[1.0, 2.0, 3.0]))],
        vec![("embeddings".to_owned(), Tensor::f32(&[0], &[]))],
    ] {
        let (model, _) = script(vec![Ok(outputs)]);
        assert!(matches!(model.embed(&["a", "b"]), Err(Error::Model(_))));
    }
}
