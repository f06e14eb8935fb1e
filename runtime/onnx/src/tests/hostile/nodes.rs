//! A model for each kind of operator, written as text: the operator (its domain before it), inputs, and
//! attributes; nodes are parted by `;`. An input is a type with a shape, and its elements where these
//! matter; `-` is one that is left out, and `^0` what the first node gives. What has a name is an
//! attribute, `>2` the number of outputs, and `@9` the version of the operators.

use super::super::*;

pub(super) const ALL: &[&str] = &[
    "Add f[2,3] f[3]",
    "Div i[4] i[1]=2",
    "Mod i[4] i[4]=1,2,3,4",
    "Pow f[3] i[3]",
    "Sum f[2] f[2] f[1]",
    "Mean f[2] f[2,2]",
    "Where b[2,1] f[2,2] f[1,2]",
    "PRelu f[1,2,3] f[2,1]",
    "Max i[3] i[3]",
    "BitShift u[3] u[3] direction='LEFT'",
    "BitwiseAnd i[3] i[3]",
    "Equal t[2] t[1]",
    "Not b[3]",
    "IsInf f[3]",
    "Clip f[4] f[]=0 f[]=1",
    "Erf f[4]",
    "Gelu f[4] approximate='tanh'",
    "Neg i[3]",
    "Cast f[4] to=17",
    "Cast f[4] to=8",
    "Cast t[0] to=1",
    "QuantizeLinear f[2,4] f[2] u[2] axis=0",
    "DequantizeLinear u[2,4] f[2,2] u[2,2] axis=1 block_size=2",
    "DynamicQuantizeLinear f[2,3] >3",
    "CastLike f[2] i[2]",
    "Shape f[2,3] start=1",
    "Reshape f[2,3] i[2]=3,-1",
    "Flatten f[2,3,4] axis=2",
    "Squeeze f[1,2,1] i[1]=0",
    "Unsqueeze f[2] i[2]=0,2",
    "Transpose f[2,3,4] perm=[2,0,1]",
    "Expand f[2,1] i[3]=2,2,3",
    "Constant value=f[2]",
    "ConstantOfShape i[2]=2,3 value=f[1]",
    "Range i[]=0 i[]=9 i[]=2",
    "EyeLike f[3,4] k=1",
    "DepthToSpace f[1,8,2,2] blocksize=2 mode='CRD'",
    "SpaceToDepth f[1,2,4,4] blocksize=2",
    "Concat f[1,2] f[1,3] axis=1",
    "Split f[6] num_outputs=3 >3",
    "Split f[6] i[2]=2,4 axis=0 >2",
    "Slice f[4,5] i[2]=0,4 i[2]=3,-6 i[2]=0,1 i[2]=1,-2",
    "Pad f[2,3] i[4]=1,0,2,1 f[]=3 mode='constant'",
    "Pad f[2,3] i[2]=1,1 - i[1]=1 mode='reflect'",
    "Tile f[2,3] i[2]=2,1",
    "Trilu f[3,4] i[]=1 upper=0",
    "CenterCropPad f[4,5] i[2]=3,7",
    "Gather f[3,4] i[2]=0,2 axis=1",
    "GatherElements f[3,4] i[2,2]=0,1,1,0 axis=1",
    "GatherND f[2,3,4] i[2,1]=0,2 batch_dims=1",
    "ScatterElements f[3,3] i[1,2]=0,1 f[1,2] axis=1",
    "ScatterND f[4,3] i[2,1]=0,3 f[2,3] reduction='add'",
    "TensorScatter f[2,4,3] f[2,1,3] i[2]=1,2",
    "Compress f[3,2] b[2] axis=0",
    "OneHot i[3]=0,1,2 i[]=4 f[2] axis=-1",
    "NonZero f[2,3]",
    "ReverseSequence f[3,2] i[2]=1,3",
    "CumSum f[2,3] i[]=1 reverse=1",
    "ArgMax f[2,3] axis=1",
    "TopK f[2,5] i[1]=3 >2",
    "ReduceSum f[2,3,2] i[2]=0,2 keepdims=0",
    "ReduceLogSumExp f[2,3] axes=[1] @13",
    "MatMul f[2,3,4] f[4,2]",
    "Gemm f[2,3] f[4,3] f[4] transB=1",
    "MatMulInteger u[2,3] u[3,2] u[1] u[1]",
    "QLinearMatMul u[2,3] f[1] u[1] u[3,2] f[1] u[1] f[1] u[1]",
    "Det f[2,3,3]",
    "Einsum f[2,3] f[3,2] equation='ij,jk->ik'",
    "Einsum f[2,3,4] equation='...ij->...ji'",
    "Conv f[1,4,5,5] f[2,2,3,3] f[2] group=2 pads=[1,1,1,1] strides=[2,2] dilations=[1,1]",
    "Conv f[1,1,7] f[1,1,3] auto_pad='SAME_UPPER'",
    "ConvInteger u[1,1,4,4] u[1,1,2,2] u[] u[1]",
    "QLinearConv u[1,1,4,4] f[] u[] u[2,1,2,2] f[2] u[2] f[] u[]",
    "ConvTranspose f[1,2,3,3] f[2,1,3,3] strides=[2,2] output_padding=[1,1] pads=[1,1,1,1]",
    "ConvTranspose f[1,1,3] f[1,1,2] output_shape=[5] strides=[2] auto_pad='SAME_LOWER'",
    "DeformConv f[1,1,3,3] f[1,1,2,2] f[1,8,2,2] f[1] f[1,4,2,2] offset_group=1",
    "MaxPool f[1,2,5,5] kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1] ceil_mode=1 storage_order=1 >2",
    "AveragePool f[1,1,6] kernel_shape=[3] count_include_pad=1 pads=[1,1]",
    "GlobalLpPool f[1,2,3,3]",
    "LpPool f[1,1,4,4] kernel_shape=[2,2] p=3",
    "GlobalAveragePool f[1,2,3]",
    "MaxUnpool f[1,1,2,2] i[1,1,2,2]=5,7,13,15 i[4]=1,1,5,5 kernel_shape=[2,2] strides=[2,2]",
    "Col2Im f[1,4,9] i[2]=4,4 i[2]=2,2 pads=[0,0,0,0]",
    "Softmax f[2,3] axis=-1",
    "Hardmax f[2,3,2] axis=1 @11",
    "BatchNormalization f[2,3,2] f[3] f[3] f[3] f[3] training_mode=1 >3",
    "LRN f[1,4,2,2] size=3",
    "InstanceNormalization f[1,2,3] f[2] f[2]",
    "LayerNormalization f[2,3,4] f[4] f[4] axis=-1 >3",
    "RMSNormalization f[2,4] f[4]",
    "GroupNormalization f[1,4,2] f[4] f[4] num_groups=2",
    "LpNormalization f[2,3] axis=1 p=1",
    "MeanVarianceNormalization f[1,2,2,2]",
    "SoftmaxCrossEntropyLoss f[2,3,2] i[2,2] f[3] ignore_index=1 >2",
    "NegativeLogLikelihoodLoss f[2,3] i[2]",
    "RNN f[3,1,2] f[1,4,2] f[1,4,4] f[1,8] i[1]=2 hidden_size=4 >2",
    "GRU f[2,2,3] f[1,6,3] f[1,6,2] hidden_size=2 linear_before_reset=1 clip=1.5 >2",
    "LSTM f[2,1,2] f[2,8,2] f[2,8,2] f[2,16] i[1]=2 f[2,1,2] f[2,1,2] f[2,6] direction='bidirectional' >3",
    "Attention f[1,2,2,4] f[1,1,3,4] f[1,1,3,4] f[2,3] is_causal=1 softcap=1.5 >4",
    "Attention f[1,2,8] f[1,3,4] f[1,3,4] - f[1,1,2,4] f[1,1,2,4] q_num_heads=2 kv_num_heads=1 >4",
    "RotaryEmbedding f[1,2,3,4] f[5,2] f[5,2] i[1,3]=0,1,4 interleaved=1",
    "RotaryEmbedding f[1,3,8] f[1,3,2] f[1,3,2] num_heads=2",
    "Resize f[1,1,4,4] - f[4]=1,1,0.5,0.5 mode='linear' antialias=1",
    "Resize f[1,1,2,2] - - i[4]=1,1,3,5 mode='cubic' exclude_outside=1",
    "Resize f[4,4] f[4]=0,0.1,1,0.9 - i[2]=3,3 coordinate_transformation_mode='tf_crop_and_resize'",
    "Upsample f[1,1,2,2] f[4]=1,1,2,3 @9",
    "Unique f[2,3] axis=1 sorted=0 >4",
    "Unique t[3] >4",
    "NonMaxSuppression f[1,4,4] f[1,2,4] i[]=2 f[]=0.5 f[]=0",
    "GridSample f[1,1,3,3] f[1,2,2,2] mode='cubic' padding_mode='reflection'",
    "GridSample f[1,1,2,2,2] f[1,1,1,2,3] mode='nearest'",
    "AffineGrid f[1,2,3] i[4]=1,1,2,3 align_corners=1",
    "RoiAlign f[1,2,4,4] f[2,4]=0,0,2,2,1,1,3,3 i[2]=0,0 output_height=2 output_width=3 sampling_ratio=2",
    "DFT f[1,6,1] i[]=5 i[]=1 onesided=1",
    "DFT f[1,8,2] - i[]=1 inverse=1",
    "STFT f[1,12,1] i[]=3 f[4]",
    "STFT f[1,9,2] i[]=2 - i[]=4 onesided=0",
    "HammingWindow i[]=7 periodic=0",
    "HannWindow i[]=4",
    "MelWeightMatrix i[]=4 i[]=16 i[]=8192 f[]=0 f[]=4096",
    "StringConcat t[2,1] t[3]",
    "StringSplit t[3] delimiter='o' maxsplit=1 >2",
    "StringSplit t[3] >2",
    "StringNormalizer t[3] stopwords=['one'] case_change_action='UPPER'",
    "RegexFullMatch t[3] pattern='(o|n)+e'",
    "TfIdfVectorizer i[2,6] mode='TFIDF' min_gram_length=1 max_gram_length=2 max_skip_count=3 \
     ngram_counts=[0,2] ngram_indexes=[0,1,2] pool_int64s=[0,1,1,2,0,2] weights=[0.5,1.0,2.0,1.0]",
    "TfIdfVectorizer t[4] mode='TF' min_gram_length=2 max_gram_length=2 max_skip_count=1 ngram_counts=[0,0] \
     ngram_indexes=[1] pool_strings=['one','two']",
    "Dropout f[3,4] f[]=0.5 b[] seed=3 >2",
    "Bernoulli f[4]",
    "RandomNormal shape=[2,3] seed=1.0",
    "RandomUniformLike f[3]",
    "ai.onnx.ml/LabelEncoder t[3] keys_strings=['one','two'] values_int64s=[1,2]",
    "ai.onnx.ml/LabelEncoder f[3] keys_tensor=f[2] values_tensor=i[2] default_tensor=i[1]",
    "ai.onnx.ml/ArrayFeatureExtractor f[3,4] i[2]=0,3",
    "ai.onnx.ml/Binarizer f[4] threshold=0.5",
    "ai.onnx.ml/TreeEnsemble f[3,2] n_targets=2 tree_roots=[0] nodes_modes=u[3]=0,4,6 nodes_splits=f[3] \
     nodes_featureids=[0,1,0] nodes_truenodeids=[1,0,2] nodes_falsenodeids=[2,1,3] nodes_trueleafs=[0,1,1] \
     nodes_falseleafs=[0,1,1] leaf_weights=f[4] leaf_targetids=[0,1,0,1] post_transform=1 \
     membership_values=f[2]=1,nan",
    "ai.onnx.preview.training/Momentum f[] i[] f[2] f[2] f[2] alpha=0.9 beta=0.5 mode='nesterov' >2",
    "ai.onnx.preview.training/Adagrad f[] i[]=2 f[2] f[2] f[2] >2",
    "ai.onnx.preview.training/Adam f[] i[]=2 f[2] f[1] f[2] f[1] f[2] f[1] f[2] f[1] >6",
    "If b[] then_branch=@one else_branch=@one",
    "Loop i[]=3 b[] f[2] body=@step >2",
    "Scan f[2] f[3,2] num_scan_inputs=1 body=@pair >2",
    "SequenceConstruct f[2] f[2]",
    "SequenceEmpty",
    "SplitToSequence f[5,2] i[]=2 axis=0",
    "SplitToSequence f[3] keepdims=0",
    "Optional f[2]",
    "OptionalHasElement f[2]",
    "Identity f[2]",
    "Size f[2,3]",
    "SequenceConstruct f[2] f[2] ; SequenceAt ^0 i[]=-1",
    "SequenceConstruct f[2] f[2] ; SequenceInsert ^0 f[2] i[]=0",
    "SequenceConstruct f[2] f[2] ; SequenceErase ^0 i[]=1 ; SequenceLength ^1",
    "SequenceConstruct f[2] f[2] ; ConcatFromSequence ^0 axis=0 new_axis=1",
    "SequenceConstruct f[2] f[2] ; SequenceMap ^0 body=@one_of",
    "Conv f[1,2,4,4] f[3,2,3,3] pads=[1,1,1,1] ; BatchNormalization ^0 f[3] f[3] f[3] f[3] ; Relu ^1",
    "Conv f[1,2,6] f[2,1,3] f[2] group=2 ; Add ^0 f[1,2,4] ; Clip ^1 f[]=0 f[]=6",
    "Conv f[1,4,4,4] f[4,1,3,3] group=4 strides=[2,1] ; Add ^0 f[4,1,1] ; HardSwish ^1",
    "MatMul f[2,3] f[3,4] ; Add ^0 f[4] ; Div ^1 f[]=1.4142135 ; Erf ^2 ; Add ^3 f[]=1 ; Mul ^1 ^4 ; Mul ^5 f[]=0.5",
    "Gemm f[2,3] f[4,3] f[4] transB=1 ; Sigmoid ^0 ; Mul ^0 ^1 ; Add ^2 f[2,4]",
    "ReduceMean f[2,4] axes=[-1] ; Sub f[2,4] ^0 ; Pow ^1 f[]=2 ; ReduceMean ^2 axes=[-1] ; Add ^3 f[]=0.1 ; \
     Sqrt ^4 ; Div ^1 ^5 ; Mul ^6 f[4] ; Add ^7 f[4] @13",
    "Sub f[2,4] f[2,1] ; Mul ^0 ^0 ; Transpose ^1 perm=[1,0] ; Reshape ^2 i[2]=2,-1 ; Softmax ^3 axis=1",
    "Shape f[2,3] ; Gather ^0 i[1]=1 ; Concat ^1 i[1]=-1 axis=0 ; Reshape f[2,3] ^2 ; Cast ^3 to=7 ; Add ^4 i[1]",
    "ConstantOfShape i[1]=3 ; Range i[]=0 i[]=3 i[]=1 ; Cast ^1 to=1 ; Mul ^0 ^2 ; Expand ^3 i[2]=2,3",
];

/// The type of the elements by its letter.
fn kind(letter: char) -> i32 {
    match letter {
        'f' => 1,
        'u' => 2,
        'i' => 7,
        't' => 8,
        _ => 9,
    }
}

/// `f[2,3]=1,2,3,4,5,6`, or without the elements.
fn tensor(name: &str, text: &str) -> proto::Tensor {
    let (shape, elements) = text[2..].split_once(']').unwrap();
    let dims: Vec<i64> = shape.split(',').filter_map(|size| size.parse().ok()).collect();
    let all = usize::try_from(dims.iter().product::<i64>()).unwrap();
    let usual = (0..all).map(|at| ((at % 4) as f32) / 2.0).collect();
    let given: Vec<f32> =
        elements.trim_start_matches('=').split(',').filter_map(|x| x.parse().ok()).collect();
    let numbers = if given.is_empty() { usual } else { given };
    let data_type = kind(text.chars().next().unwrap());
    let mut tensor = proto::Tensor { name: name.to_owned(), dims, data_type, ..Default::default() };
    match data_type {
        1 => tensor.float_data = numbers,
        7 => tensor.int64_data = numbers.iter().map(|x| *x as i64).collect(),
        8 => {
            tensor.string_data = ["one", "", "zwo", "one two"]
                .iter()
                .cycle()
                .take(all)
                .map(|x| x.as_bytes().to_vec())
                .collect()
        }
        9 => tensor.int32_data = vec![1; all],
        _ => tensor.int32_data = numbers.iter().map(|x| *x as i32).collect(),
    }
    tensor
}

/// A graph for a node that has graphs.
fn body(name: &str) -> proto::Graph {
    let (nodes, inputs, outputs): (_, &[&str], &[&str]) = match name {
        "one" => (vec![node("Constant", &[], &["a"])], &[], &["a"]),
        "one_of" => (vec![node("Relu", &["a"], &["c"])], &["a"], &["c"]),
        "step" => (vec![node("Add", &["a", "a"], &["c"])], &["i", "b", "a"], &["b", "c", "c"]),
        _ => (vec![node("Add", &["a", "b"], &["c"])], &["a", "b"], &["c", "c"]),
    };
    let mut nodes = nodes;
    if name == "one" {
        nodes[0].attribute.push(attribute("value=f[2]"));
    }
    let infos = |names: &[&str]| names.iter().map(|name| info(name)).collect();
    proto::Graph { node: nodes, input: infos(inputs), output: infos(outputs), ..Default::default() }
}

/// `name=1`, `name=1.5`, `name='text'`, `name=[…]` of these, `name=f[2]` for a tensor, `name=@graph`.
fn attribute(text: &str) -> proto::Attribute {
    let (name, value) = text.split_once('=').unwrap();
    let mut made = proto::Attribute { name: name.to_owned(), ..Default::default() };
    let texts = |value: &str| value.trim_matches('\'').as_bytes().to_vec();
    if let Some(graph) = value.strip_prefix('@') {
        (made.r#type, made.g) = (5, Some(Box::new(body(graph))));
    } else if value.chars().nth(1) == Some('[') {
        (made.r#type, made.t) = (4, Some(Box::new(tensor("", value))));
    } else if let Some(list) = value.strip_prefix('[') {
        let parts: Vec<&str> = list.trim_end_matches(']').split(',').collect();
        made.r#type = if list.contains('\'') {
            8
        } else if list.contains('.') {
            6
        } else {
            7
        };
        made.ints = parts.iter().filter_map(|part| part.parse().ok()).collect();
        made.floats = parts.iter().filter_map(|part| part.parse().ok()).collect();
        made.strings = parts.iter().map(|part| texts(part)).collect();
    } else if value.starts_with('\'') {
        (made.r#type, made.s) = (3, texts(value));
    } else if value.contains('.') {
        (made.r#type, made.f) = (1, value.parse().unwrap());
    } else {
        (made.r#type, made.i) = (2, value.parse().unwrap());
    }
    made
}

/// A file, and the files of its inputs.
pub(super) fn parsed(text: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut nodes, mut inputs, mut sets) = (Vec::new(), Vec::new(), vec![("", 24)]);
    for (at, text) in text.split(" ; ").enumerate() {
        let mut words = text.split_whitespace();
        let op = words.next().unwrap();
        let (domain, op) = op.split_once('/').unwrap_or(("", op));
        let mut made = node(op, &[], &[&format!("v{at}")]);
        made.domain = domain.to_owned();
        if !domain.is_empty() {
            sets.push((domain, 5));
        }
        for word in words {
            if let Some(version) = word.strip_prefix('@') {
                sets[0].1 = version.parse().unwrap();
                continue;
            }
            inputs.extend(told(&mut made, word, inputs.len()));
        }
        nodes.push(made);
    }
    let last: Option<&proto::Node> = nodes.last();
    let output = last.into_iter().flat_map(|node| &node.output).map(|name| info(name)).collect();
    let input = inputs.iter().map(|tensor| info(&tensor.name)).collect();
    let graph = proto::Graph { node: nodes, input, output, ..Default::default() };
    let set = |(domain, version): (&str, i64)| {
        let domain = domain.to_owned();
        proto::OperatorSet { domain, version }
    };
    let opset_import = sets.into_iter().map(set).collect();
    let model = proto::Model { graph: Some(graph), opset_import };
    (model.encode_to_vec(), inputs.iter().map(Message::encode_to_vec).collect())
}

/// One word about a node; gives the input that it brings.
fn told(node: &mut proto::Node, word: &str, inputs: usize) -> Option<proto::Tensor> {
    if word == "-" {
        node.input.push(String::new());
    } else if let Some(maker) = word.strip_prefix('^') {
        node.input.push(format!("v{maker}"));
    } else if let Some(outputs) = word.strip_prefix('>') {
        let first = node.output.remove(0);
        let outputs: usize = outputs.parse().unwrap();
        node.output = (0..outputs)
            .map(|at| if at == 0 { first.clone() } else { format!("{first}_{at}") })
            .collect();
    } else if word.chars().nth(1) == Some('[') {
        let name = format!("x{inputs}");
        node.input.push(name.clone());
        return Some(tensor(&name, word));
    } else {
        node.attribute.push(attribute(word));
    }
    None
}
