use super::*;
use crate::bridge::Bridge;
use crate::echo::Echo;
use crate::meter::Shared;
use crate::models::Metered;
use crate::purse::Purse;
use crate::spend::Spend;

/// A context with its surroundings.
struct Bench {
    echo: Arc<Echo>,
    purse: Arc<Purse>,
    reach: Reach,
    tensors: TensorBudget,
    context: Context,
}

impl Bench {
    fn new(tokens: u64) -> Self {
        let (echo, purse) = (Arc::new(Echo::new(&["echo"])), Arc::new(Purse::new(tokens)));
        let reach = Reach {
            models: Arc::new(Metered::new(
                Arc::clone(&echo) as Arc<dyn Bridge>,
                Arc::clone(&purse) as Arc<dyn Spend>,
                "org_test".to_owned(),
            )),
            shared: Arc::new(Shared::default()),
        };
        let context = Context::new("echo".to_owned(), ModelKind::Generation);
        Self { echo, purse, reach, tensors: TensorBudget::new(10_000, Arc::default()), context }
    }

    /// Computes, and gives every output as text.
    async fn compute(&mut self, inputs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let tensor = |(name, value): &(&str, &str)| {
            output::bytes(name, value.as_bytes().to_vec(), &self.tensors).expect("a small tensor")
        };
        let inputs = inputs.iter().map(tensor).collect();
        let outputs = self.context.compute(&self.reach, &self.tensors, inputs).await;
        let text = |(name, tensor): (String, HostTensor)| {
            let value = match name.as_str() {
                "tokens" => format!("{:?}", tensor.tokens("tokens").expect("tokens")),
                name => tensor.text(name).expect("text").to_owned(),
            };
            (name, value)
        };
        outputs.map(|outputs| outputs.into_iter().map(text).collect()).map_err(|error| error.data)
    }
}

fn named(outputs: &[(&str, &str)]) -> Vec<(String, String)> {
    outputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn usage(input: u32, output: u32) -> String {
    format!(r#"{{"input_tokens":{input},"cached_input_tokens":0,"output_tokens":{output}}}"#)
}

const STREAM: (&str, &str) = ("options", r#"{"stream":true,"max_tokens":10}"#);
const WHOLE: (&str, &str) = ("options", r#"{"max_tokens":2}"#);

#[tokio::test]
async fn a_whole_answer_comes_at_once() {
    let mut bench = Bench::new(100);
    let outputs = bench.compute(&[("prompt", "one two three"), WHOLE]).await.unwrap();
    let expect = [
        ("text", "one two "),
        ("tokens", "[3, 3]"),
        ("usage", &usage(3, 2)),
        ("finish_reason", "\"length\""),
    ];
    assert_eq!(outputs, named(&expect));
    assert_eq!(bench.purse.tokens(), 95);
    let error = bench.compute(&[]).await.unwrap_err();
    assert!(error.contains("nothing is being generated"), "{error}");
}

#[tokio::test]
async fn a_stream_gives_a_piece_for_each_compute() {
    let mut bench = Bench::new(100);
    let piece = |text, tokens| named(&[("text", text), ("tokens", tokens)]);
    let first = bench.compute(&[("tokens", ""), STREAM]).await.unwrap_err();
    assert!(first.contains("wrong_shape: tensor `tokens` must be I64"), "{first}");
    assert_eq!(bench.compute(&[("prompt", "a bc"), STREAM]).await.unwrap(), piece("a ", "[1]"));
    assert_eq!(bench.purse.reservations(), 1);
    assert_eq!(bench.compute(&[]).await.unwrap(), piece("bc ", "[2]"));
    let end =
        [("text", ""), ("tokens", "[]"), ("usage", &usage(2, 2)), ("finish_reason", "\"stop\"")];
    assert_eq!(bench.compute(&[]).await.unwrap(), named(&end));
    assert_eq!((bench.purse.reservations(), bench.purse.tokens()), (0, 96));
    // The same context takes another task.
    assert!(bench.compute(&[("prompt", "d"), WHOLE]).await.is_ok());
    assert_eq!(bench.echo.open_sessions(), 1);
}

#[tokio::test]
async fn a_new_task_ends_the_stream_before_it() {
    let mut bench = Bench::new(100);
    bench.compute(&[("prompt", "a b c d"), STREAM]).await.unwrap();
    let outputs = bench.compute(&[("prompt", "x"), WHOLE]).await.unwrap();
    assert_eq!(outputs[0].1, "x ");
    let settled = bench.purse.settled();
    let outputs: Vec<(u32, u32)> =
        settled.iter().map(|used| (used.input_tokens, used.output_tokens)).collect();
    assert_eq!(outputs, [(4, 1), (1, 1)], "only what was received is paid");
}

#[tokio::test]
async fn a_context_that_is_dropped_settles_and_closes() {
    let mut bench = Bench::new(100);
    bench.compute(&[("prompt", "a b c"), STREAM]).await.unwrap();
    bench.context = Context::new("echo".to_owned(), ModelKind::Generation);
    assert_eq!((bench.purse.reservations(), bench.echo.closed()), (0, 1));
    assert_eq!(bench.purse.tokens(), 100 - 3 - 1);
    // In the middle of a compute, with nothing received yet.
    let echo = Arc::clone(&bench.echo);
    tokio::select! {
        outputs = bench.compute(&[("prompt", "a stall"), WHOLE]) => panic!("{outputs:?}"),
        () = echo.stalls() => {}
    }
    assert_eq!(bench.purse.reservations(), 0, "a dropped compute settles at once");
    assert_eq!(bench.purse.tokens(), 96 - 2);
}

#[tokio::test]
async fn a_budget_ends_a_conversation_and_refuses_a_first_task() {
    let mut bench = Bench::new(20);
    let messages = r#"[{"role":"user","content":"a b"}]"#;
    let large = ("options", r#"{"max_tokens":50}"#);
    let error = bench.compute(&[("messages", messages), large]).await.unwrap_err();
    assert!(error.starts_with("budget_exhausted: "), "{error}");
    assert!(bench.reach.shared.budget_refused());
    assert!(bench.compute(&[("messages", messages), WHOLE]).await.is_ok());
    let outputs = bench.compute(&[("messages", messages), large]).await.unwrap();
    let expect =
        [("text", ""), ("tokens", "[]"), ("usage", &usage(0, 0)), ("finish_reason", "\"budget\"")];
    assert_eq!(outputs, named(&expect));
    assert_eq!((bench.purse.reservations(), bench.purse.tokens()), (0, 16));
}

#[tokio::test]
async fn errors_of_the_engine_cost_nothing() {
    let mut bench = Bench::new(5_000);
    for (inputs, expect) in [
        (&[("prompt", " ")][..], "invalid_argument: `prompt`: is empty"),
        (&[("prompt", "a"), ("options", r#"{"max_tokens":2000}"#)], "context_length_exceeded: "),
        (&[("prompt", "a"), ("options", r#"{"temperature":-1}"#)], "`temperature`: must be"),
    ] {
        let error = bench.compute(inputs).await.unwrap_err();
        assert!(error.contains(expect), "{inputs:?}: {error}");
    }
    bench.context = Context::new("absent".to_owned(), ModelKind::Generation);
    let error = bench.compute(&[("prompt", "a")]).await.unwrap_err();
    assert_eq!(error, "model_not_found: there is no model `absent`");
    assert_eq!((bench.purse.tokens(), bench.purse.settled().len()), (5_000, 0));
}
