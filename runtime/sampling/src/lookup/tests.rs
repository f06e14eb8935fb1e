use super::{DRAFT_MAX, Lookup, PAUSE};

/// A price at which every draft that can be made is.
const CHEAP: f64 = 0.01;

fn check(tokens: &[u32], most: usize, expect: &[u32]) {
    assert_eq!(Lookup::default().draft(tokens, most, CHEAP), expect, "after {tokens:?}");
}

#[test]
fn what_followed_before_is_drafted() {
    check(&[], 8, &[]);
    check(&[1], 8, &[]);
    check(&[1, 2, 3], 8, &[]);
    check(&[1, 2, 3, 1, 2], 3, &[3, 1, 2]);
    check(&[1, 2, 3, 1, 2], 2, &[3, 1]);
    check(&[1, 2, 3, 1, 2], 0, &[]);
    // One token alone says too little.
    check(&[1, 2, 3, 4, 2], 8, &[]);
    // The latest occurrence, and the longest run before an earlier one.
    check(&[1, 2, 3, 1, 2, 4, 1, 2], 1, &[4]);
    check(&[9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], 1, &[3]);
    // Of runs longer than are compared the latest.
    check(&[5, 1, 2, 3, 4, 6, 7, 1, 2, 3, 4, 8, 5, 1, 2, 3, 4], 1, &[8]);
    let long: Vec<u32> = (0..40).chain(0..4).collect();
    check(&long, 99, &[4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn what_repeats_itself_goes_on() {
    check(&[1, 2, 3, 1, 2], 8, &[3, 1, 2, 3, 1, 2, 3, 1]);
    check(&[7, 7, 7], 4, &[7, 7, 7, 7]);
}

#[test]
fn drafts_are_as_long_as_they_pay() {
    let tokens = [7; 9];
    let len = |lookup: &mut Lookup, worth| lookup.draft(&tokens, 99, worth).len();
    let mut lookup = Lookup::default();
    assert_eq!(len(&mut lookup, 0.9), 2, "a trial at nearly any price");
    assert_eq!(len(&mut lookup, 0.96), 0);
    // From here on one in two is picked.
    for _ in 0..200 {
        lookup.judge(2, 1);
    }
    assert_eq!(len(&mut lookup, 0.6), 0);
    assert_eq!(len(&mut lookup, 0.45), 1);
    assert_eq!(len(&mut lookup, 0.2), 2);
    // And now all.
    for _ in 0..200 {
        lookup.judge(DRAFT_MAX, DRAFT_MAX);
    }
    assert_eq!(len(&mut lookup, 0.6), DRAFT_MAX);
}

#[test]
fn drafts_that_do_not_pay_are_given_up_for_a_while() {
    let mut lookup = Lookup::default();
    let mut wasted = 0;
    loop {
        let drafted = lookup.draft(&[7; 9], 99, 0.2).len();
        if drafted == 0 {
            break;
        }
        wasted += drafted;
        lookup.judge(drafted, 0);
    }
    assert!(wasted < 30, "{wasted}");
    for _ in 1..PAUSE - 1 {
        assert!(lookup.draft(&[7; 9], 99, 0.2).is_empty());
    }
    assert!(lookup.draft(&[7; 9], 99, 0.2).is_empty());
    assert!(!lookup.draft(&[7; 9], 99, 0.2).is_empty(), "it tries again");
}
