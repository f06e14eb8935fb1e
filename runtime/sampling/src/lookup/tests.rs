use super::{DRAFT_MAX, Lookup, PAUSE, TRIAL};

fn check(tokens: &[u32], most: usize, expect: &[u32]) {
    assert_eq!(Lookup::default().draft(tokens, most), expect, "after {tokens:?}");
}

#[test]
fn what_followed_before_is_drafted() {
    check(&[], 8, &[]);
    check(&[1, 2, 3], 8, &[]);
    check(&[1, 2, 3, 1, 2], 8, &[3, 1, 2]);
    check(&[1, 2, 3, 1, 2], 2, &[3, 1]);
    check(&[1, 2, 3, 1, 2], 0, &[]);
    // The latest occurrence, and the longest run before an earlier one.
    check(&[1, 2, 3, 1, 2, 4, 1, 2], 1, &[4]);
    check(&[9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], 1, &[3]);
    let long: Vec<u32> = (0..40).chain(0..4).collect();
    check(&long, 99, &[4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_sequence_may_grow() {
    let mut lookup = Lookup::default();
    let tokens: Vec<u32> = (0..50).map(|i| i % 7).collect();
    for len in 0..tokens.len() {
        let draft = lookup.draft(&tokens[..len], 3).to_vec();
        assert_eq!(draft, Lookup::default().draft(&tokens[..len], 3), "after {len}");
    }
}

#[test]
fn drafts_that_do_not_pay_are_given_up_for_a_while() {
    let tokens = [1, 2, 3, 1, 2];
    let mut lookup = Lookup::default();
    for _ in 0..TRIAL {
        assert!(!lookup.draft(&tokens, DRAFT_MAX).is_empty());
        lookup.judge(DRAFT_MAX, 1);
    }
    for _ in 0..PAUSE {
        assert!(lookup.draft(&tokens, DRAFT_MAX).is_empty());
    }
    for _ in 0..3 * TRIAL {
        assert!(!lookup.draft(&tokens, DRAFT_MAX).is_empty());
        lookup.judge(DRAFT_MAX, DRAFT_MAX / 2);
    }
}
