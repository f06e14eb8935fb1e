use super::*;

fn tensor(dimensions: &[u32], ty: TensorType, bytes: usize) -> HostTensor {
    HostTensor::from_guest(
        dimensions.to_vec(),
        ty,
        vec![0; bytes],
        &TensorBudget::new(1_000, Arc::default()),
    )
}

fn check(dimensions: &[u32], ty: TensorType, bytes: usize, expect: Option<&str>) {
    let outcome = tensor(dimensions, ty, bytes).sound("t");
    let data = outcome.err().map(|error| error.data);
    match (&data, expect) {
        (None, None) => {}
        (Some(data), Some(expect)) => assert!(data.contains(expect), "{data}"),
        _ => panic!("{dimensions:?} {ty:?} {bytes}: {data:?}"),
    }
}

#[test]
fn shape_type_and_data_must_agree() {
    check(&[2, 3], TensorType::Fp32, 24, None);
    check(&[], TensorType::Fp64, 8, None);
    check(&[0], TensorType::U8, 0, None);
    check(&[0, 7], TensorType::U8, 0, None);
    check(&[3], TensorType::Bf16, 6, None);
    check(&[3], TensorType::Fp16, 5, Some("wrong_shape: tensor `t` has 5 bytes"));
    check(&[3], TensorType::U8, 4, Some("of U8 take 3"));
    check(&[u32::MAX, u32::MAX, 2], TensorType::U8, 0, Some("overflows"));
    check(&[1 << 31, 1 << 31, 4], TensorType::U8, 0, Some("overflows"));
    check(&[u32::MAX; 2], TensorType::U8, 0, Some("take 18446744065119617025"));
    check(&[1; 17], TensorType::U8, 1, Some("has 17 dimensions; at most 16"));
    check(&[1_001], TensorType::U8, 1_001, Some("too_large: tensor `t` has 1001 bytes"));
}

#[test]
fn the_budget_is_for_all_tensors_at_once() {
    let budget = TensorBudget::new(10, Arc::default());
    let make = || HostTensor::from_guest(vec![6], TensorType::U8, vec![0; 6], &budget);
    let first = make();
    assert!(first.sound("a").is_ok());
    assert!(make().sound("b").unwrap_err().data.starts_with("too_large"));
    drop(first);
    assert!(make().sound("c").is_ok());
}

#[test]
fn tokens_are_ids() {
    let budget = TensorBudget::new(1_000, Arc::default());
    let ids = |values: &[i64]| {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dimensions = vec![u32::try_from(values.len()).unwrap()];
        HostTensor::from_guest(dimensions, TensorType::I64, data, &budget).tokens("tokens")
    };
    assert_eq!(ids(&[1, 4_294_967_295]).unwrap(), [1, u32::MAX]);
    assert_eq!(
        ids(&[1, -2]).unwrap_err().data,
        "invalid_argument: `tokens`[1]: -2 is not a token id"
    );
    assert!(ids(&[1 << 32]).is_err());
}

#[test]
fn what_is_not_counted_stays_small() {
    let tensor = tensor(&[1; 100_000], TensorType::U8, 1);
    assert!(tensor.dimensions.capacity() <= 100, "{}", tensor.dimensions.capacity());
    let error = GuestError::invalid(&"é".repeat(100_000));
    assert!(error.data.len() < 2_000, "{}", error.data.len());
}
