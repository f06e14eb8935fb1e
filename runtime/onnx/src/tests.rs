use super::*;

/// Damaged models and inputs.
mod hostile;
use crate::tensor::small;

/// A node of the standard operators.
fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> proto::Node {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    proto::Node {
        op_type: op.to_owned(),
        input: names(inputs),
        output: names(outputs),
        ..Default::default()
    }
}

fn info(name: &str) -> proto::ValueInfo {
    proto::ValueInfo { name: name.to_owned(), r#type: None }
}

/// A graph from `x` to `y`.
fn graph(nodes: Vec<proto::Node>, initializer: Vec<proto::Tensor>) -> proto::Graph {
    let (input, output) = (vec![info("x")], vec![info("y")]);
    proto::Graph { node: nodes, initializer, input, output }
}

fn file(graph: proto::Graph) -> Vec<u8> {
    let opset_import = vec![proto::OperatorSet { domain: String::new(), version: 21 }];
    proto::Model { graph: Some(graph), opset_import }.encode_to_vec()
}

fn floats(name: &str, dims: &[i64], all: &[f32]) -> proto::Tensor {
    let (name, dims) = (name.to_owned(), dims.to_vec());
    proto::Tensor { name, dims, data_type: 1, float_data: all.to_vec(), ..Default::default() }
}

fn run(model: &Model, x: Tensor) -> Result<Vec<Value>, OnnxError> {
    model
        .run(HashMap::from([("x".to_owned(), x.into())]), &Bounds::default())
        .map(|(outputs, _)| outputs)
}

fn x() -> Tensor {
    Tensor::new(vec![1, 2], vec![3f32, -4.0]).unwrap()
}

#[test]
fn a_layer_is_read_and_run() {
    let weights = floats("w", &[2, 3], &[1.0, 0.0, 2.0, 0.0, 1.0, 1.0]);
    let nodes = vec![
        node("MatMul", &["x", "w"], &["product"]),
        node("Add", &["product", "b"], &["sum"]),
        node("Relu", &["sum"], &["y"]),
    ];
    let bias = floats("b", &[3], &[0.5, 0.5, -0.5]);
    let model = Model::read(&file(graph(nodes, vec![weights, bias]))).unwrap();
    assert_eq!(model.inputs()[0].name, "x");
    let expect = Tensor::new(vec![1, 3], vec![3.5f32, 0.0, 1.5]).unwrap();
    assert_eq!(run(&model, x()).unwrap(), [expect.into()]);
}

/// A tensor whose bytes are worth being left in the file.
fn large(name: &str, dims: &[i64]) -> proto::Tensor {
    let count = dims.iter().product::<i64>();
    let bytes = (0..count).flat_map(|i| ((i % 23) as f32 / 8.0 - 1.0).to_le_bytes()).collect();
    proto::Tensor { raw_data: bytes, ..floats(name, dims, &[]) }
}

/// The same in a field that is never left out.
fn here(tensor: &proto::Tensor) -> proto::Tensor {
    let values = tensor.raw_data.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x));
    floats(&tensor.name, &tensor.dims, &values.collect::<Vec<_>>())
}

#[test]
fn large_tensors_are_read_when_they_are_needed() {
    let turned = proto::Attribute {
        name: "transB".to_owned(),
        i: 1,
        r#type: 2,
        ..proto::Attribute::default()
    };
    let gemm = |from, w, to| proto::Node {
        attribute: vec![turned.clone()],
        ..node("Gemm", &[from, w], &[to])
    };
    // For two layers, folded, and for an operator that takes it as it is.
    let nodes = vec![
        node("MatMul", &["x", "v"], &["a"]),
        gemm("a", "w", "b"),
        gemm("a", "w", "c"),
        node("Transpose", &["w"], &["t"]),
        gemm("b", "t", "d"),
        node("Add", &["c", "b"], &["e"]),
        gemm("e", "t", "f"),
        node("Add", &["d", "f"], &["g"]),
        node("Add", &["g", "w"], &["y"]),
    ];
    let all = vec![large("v", &[2, 20_000]), large("w", &[130, 20_000])];
    let plain: Vec<_> = all.iter().map(here).collect();
    let expect = Model::read(&file(graph(nodes.clone(), plain))).unwrap();
    let bytes = file(graph(nodes.clone(), all));
    let model = Model::read(&bytes).unwrap();
    assert_eq!(run(&model, x()).unwrap(), run(&expect, x()).unwrap());
    assert_eq!((model.bytes(), model.parameters()), (expect.bytes(), expect.parameters()));
    for cut in [bytes.len() - 1, bytes.len() / 2, 1 << 17] {
        let error = Model::read(&bytes[..cut]).unwrap_err().to_string();
        assert!(error.contains("it is no ONNX file"), "{error}");
    }
    let mut lies = large("v", &[2, 20_000]);
    lies.dims = vec![2, 1 << 28];
    let error = Model::read(&file(graph(nodes, vec![lies]))).unwrap_err().to_string();
    let expect = "initializer `v`: 160000 bytes are there of the shape [2, 268435456]";
    assert!(error.contains(expect), "{error}");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let relu = || vec![node("Relu", &["x"], &["y"])];
    let mut lies = floats("w", &[1 << 40, 1 << 40], &[1.0]);
    let cases = [
        (b"not a graph".to_vec(), "it is no ONNX file"),
        (proto::Model::default().encode_to_vec(), "it has no graph"),
        (
            file(graph(vec![node("Frobnicate", &["x"], &["y"])], vec![])),
            "Frobnicate of `y`: Frobnicate of ai.onnx version 21 is not supported",
        ),
        (file(graph(vec![node("Relu", &["z"], &["y"])], vec![])), "nothing gives the value `z`"),
        (
            file(graph(vec![node("Add", &["x", "y"], &["y"])], vec![])),
            "two things give the value `y`",
        ),
        (file(graph(relu(), vec![lies.clone()])), "initializer `w`: a tensor of the shape"),
        (
            file(graph(relu(), vec![floats("w", &[3], &[1.0])])),
            "initializer `w`: 1 elements are there of the shape [3]",
        ),
        (file(graph(relu(), vec![floats("w", &[-3], &[1.0])])), "initializer `w`: -3 is no size"),
        (
            file(graph(
                relu(),
                vec![{
                    lies.dims = vec![1];
                    lies.data_location = 1;
                    lies
                }],
            )),
            "initializer `w`: its data is in another file",
        ),
    ];
    for (bytes, expect) in cases {
        let error = Model::read(&bytes).unwrap_err().to_string();
        assert!(error.contains(expect), "{error} for {expect}");
    }
}

#[test]
fn a_node_that_cannot_compute_says_which_and_why() {
    let nodes = vec![node("Add", &["x", "w"], &["y"])];
    let model = Model::read(&file(graph(nodes, vec![floats("w", &[3], &[0.0; 3])]))).unwrap();
    let error = run(&model, x()).unwrap_err().to_string();
    assert_eq!(error, "Add of `y`: the shapes [1, 2] and [3] do not go together");
    let error = model
        .run(HashMap::from([("z".to_owned(), x().into())]), &Bounds::default())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "input `z`: the graph has no such input; it has x");
    let error = model.run(HashMap::new(), &Bounds::default()).unwrap_err().to_string();
    assert_eq!(error, "input `x`: is missing; a tensor is expected");
}

/// Nothing is taken for a shape that is too large.
#[test]
fn sizes_are_bounded() {
    let sizes = proto::Tensor {
        name: "w".to_owned(),
        dims: vec![3],
        data_type: 7,
        int64_data: vec![1 << 20, 1 << 20, 1 << 20],
        ..Default::default()
    };
    let nodes = vec![node("ConstantOfShape", &["w"], &["y"])];
    let model = Model::read(&file(graph(nodes, vec![sizes]))).unwrap();
    let error = run(&model, x()).unwrap_err().to_string();
    assert!(error.contains("are allowed"), "{error}");
}

/// A file of very many parts is refused before it is decoded, which would take a hundred times as much.
#[test]
fn parts_are_bounded() {
    let graph = [0x0a, 0].repeat(PARTS_MAX + 1);
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(graph.len() as u64, &mut file);
    file.extend(graph);
    let error = Model::read(&file).unwrap_err().to_string();
    assert!(error.contains("it has 4194306 parts; 4194304 are allowed"), "{error}");
}

/// A loop without an end runs out of nodes, and graphs do not lie too deep.
#[test]
fn loops_are_bounded() {
    let body = proto::Graph {
        node: vec![node("Identity", &["c"], &["d"])],
        input: vec![info("i"), info("c")],
        output: vec![info("d")],
        ..Default::default()
    };
    let nested = |body: proto::Graph| {
        let mut repeat = node("Loop", &["", "t"], &[]);
        repeat.attribute = vec![proto::Attribute {
            name: "body".to_owned(),
            r#type: 5,
            g: Some(Box::new(body)),
            ..Default::default()
        }];
        repeat
    };
    let yes = proto::Tensor {
        name: "t".to_owned(),
        data_type: 9,
        int32_data: vec![1],
        ..Default::default()
    };
    let nodes = vec![nested(body.clone()), node("Relu", &["x"], &["y"])];
    let model = Model::read(&file(graph(nodes, vec![yes.clone()]))).unwrap();
    let limits = Bounds { nodes: 1000, ..Bounds::default() };
    let inputs = || HashMap::from([("x".to_owned(), x().into())]);
    let error = model.run(inputs(), &limits).unwrap_err().to_string();
    assert!(error.contains("it runs for too long"), "{error}");

    // A body without a node ends too.
    let empty = proto::Graph {
        input: vec![info("i"), info("c")],
        output: vec![info("c")],
        ..Default::default()
    };
    let nodes = vec![nested(empty), node("Relu", &["x"], &["y"])];
    let model = Model::read(&file(graph(nodes, vec![yes.clone()]))).unwrap();
    let error = model.run(inputs(), &limits).unwrap_err().to_string();
    assert!(error.contains("it runs for too long"), "{error}");

    let mut deep = body;
    for _ in 0..20 {
        deep = proto::Graph { node: vec![nested(deep)], ..Default::default() };
    }
    let outcome = Model::read(&file(graph(vec![nested(deep)], vec![yes])));
    assert!(outcome.is_err());
}

#[test]
fn small_numbers_come_back_as_they_were() {
    use Kind::{F4E2M1, F8E4M3Fn, F8E4M3FnUz, F8E5M2, F8E5M2FnUz};
    for (kind, codes) in
        [(F8E4M3Fn, 256), (F8E4M3FnUz, 256), (F8E5M2, 256), (F8E5M2FnUz, 256), (F4E2M1, 16)]
    {
        for code in 0..codes {
            let code = u8::try_from(code).unwrap();
            let value = small::decode(kind, code);
            let again = small::encode(kind, value, false);
            let same = again == code || (value.is_nan() && small::decode(kind, again).is_nan());
            assert!(same, "{kind:?} {code} {value} {again}");
        }
    }
    // The largest, ties to even, and what is beyond.
    for (value, saturates, expect) in
        [(448.0, true, 0x7e), (1e6, true, 0x7e), (1e6, false, 0x7f), (1.0625, true, 0x38)]
    {
        assert_eq!(small::encode(F8E4M3Fn, value, saturates), expect, "{value}");
    }
}
